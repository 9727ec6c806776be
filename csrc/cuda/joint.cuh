// The joint sweep of one block on CUDA: the sweep of sweep.cuh, in which a kept weight is rounded to its grid. Free of
// torch.
#pragma once
#include "grid.h"
#include "sweep.cuh"

namespace gpu {
// The settling of joint_sweep_block_: scale and zero have one column, or one for each weight.
template <class Scalar> struct Rounding {
    const Scalar* scale;
    const uint8_t* zero;
    uint8_t* codes;
    int grid_cols;
    int bits;

    // One lane's grids of one row. Columns past the end keep the grid of the lane's last one.
    struct Row {
        const Scalar* scales; // null where there is nothing to read
        const uint8_t* zeros;
        uint8_t* codes;
        Scalar top, scale, zero, next_scale, next_zero;
        int index;
        bool many; // grids in this row
        uint8_t code;

        __device__ __forceinline__ void fetch(int column, int cols) {
            if (!scales || column >= cols) return;
            next_scale = scales[column];
            next_zero = zeros[column];
        }
        // The grid of the slot was read while the slot before was swept.
        __device__ __forceinline__ void reach(int slot, int cols) {
            if (!many) return;
            scale = next_scale;
            zero = next_zero;
            fetch((slot + 1) * LANES + index, cols);
        }
        __device__ __forceinline__ Settled<Scalar> settle(Scalar weight, bool prune, const Divisor<Scalar>& diagonal,
                                                          bool inside) {
            const Scalar nearest = nearest_level<Scalar, Scalar>(weight, scale, -zero, top - zero);
            const Scalar level = prune ? Scalar(0) : nearest;
            const Scalar value = value_of<Scalar, Scalar>(level, scale);
            code = uint8_t(level + zero);
            const Scalar error = settling_error(weight, value, diagonal);
            return {value, inside ? error : Scalar(0)}; // past the end an infinity may have become NaN
        }
        __device__ __forceinline__ void keep_code(int column) {
            if (codes) codes[column] = code;
        }
    };

    __device__ __forceinline__ Row row(int64_t row, int index, int cols, bool present) const {
        Row own{};
        own.index = index;
        own.many = grid_cols > 1;
        own.top = Scalar((1 << bits) - 1);
        own.next_scale = own.scale = 1;
        if (!present) return own;
        own.scales = scale + row * grid_cols;
        own.zeros = zero + row * grid_cols;
        own.codes = codes + row * cols;
        own.fetch(own.many ? index : 0, cols);
        own.scale = own.next_scale;
        own.zero = own.next_zero;
        return own;
    }
};
} // namespace gpu
