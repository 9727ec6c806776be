// The joint sweep of one block on CUDA: the sweep of sweep.cuh, in which a kept weight is rounded to its grid. Free of
// torch.
#pragma once
#include "levels.cuh"
#include "sweep.cuh"

namespace gpu {
// The settling of joint_sweep_block_: scale and zero have one column, or one for each weight.
template <class Scalar> struct Rounding {
    const Scalar* scale;
    const uint8_t* zero;
    uint8_t* codes;
    bool many;  // grids in a row
    Scalar top; // code

    // One lane's grids of one row. Columns past the end keep the grid of the lane's last one.
    struct Row {
        Rounding all;
        int64_t first; // where the lane's first column lies; below 0 where there is no row
        int index;
        Scalar scale, zero, next_scale, next_zero;
        Levels<Scalar> levels;
        Scalar level; // of the lane's own column in the slot

        __device__ __forceinline__ bool has(int slot, int cols) const {
            return first >= 0 && slot * LANES + index < cols;
        }
        __device__ __forceinline__ void fetch(int64_t place) {
            next_scale = all.scale[place];
            next_zero = all.zero[place];
        }
        // The grid of the slot is read while the slot before is swept.
        __device__ __forceinline__ void reach(int slot, int cols) {
            if (slot > 0 && !all.many) return;
            scale = next_scale;
            zero = next_zero;
            levels = Levels<Scalar>::of(scale, zero, all.top);
            if (all.many && has(slot + 1, cols)) fetch(first + (slot + 1) * LANES);
        }
        __device__ __forceinline__ Scalar settle(Scalar weight, bool prune, const Divisor<Scalar>& diagonal,
                                                 bool inside, bool own) {
            const Scalar nearest = levels.nearest(weight);
            const Scalar settled = prune ? Scalar(0) : nearest;
            if (own) level = settled;
            const Scalar error = settling_error(weight, value_of<Scalar, Scalar>(settled, scale), diagonal);
            return inside ? error : Scalar(0); // past the end an infinity may have become NaN
        }
        __device__ __forceinline__ Scalar leave(Scalar, bool, int slot, int cols) const {
            if (has(slot, cols)) all.codes[first + slot * LANES] = uint8_t(level + zero);
            return value_of<Scalar, Scalar>(level, scale);
        }
    };

    __device__ __forceinline__ Row row(int64_t row, int index, int cols) const {
        Row own{*this, row < 0 ? -1 : row * cols + index, index};
        own.next_scale = 1;
        if (own.has(0, cols)) own.fetch(many ? own.first : row);
        return own;
    }
};
} // namespace gpu
