// The grids of sixteen rows of codes, from where lanes have loaded them to where a product by tensor cores needs them.
// Free of torch.
#pragma once
#include "packed_spread.cuh"

namespace gpu {
constexpr int MMA_ROWS = 16, MMA_TOKENS = 8; // of a product
constexpr int SPAN = 128;                    // columns that a quad of lanes has at a time
constexpr int TILE_SPANS = 2;                // that a warp brings at a time: a lane the grid of one row and span
constexpr int MMA_TILE = TILE_SPANS * SPAN;
template <class Rows> constexpr int tile_spans = TILE_SPANS; // of rows without grids it may be another number
constexpr int MMA_THREADS = 256, MMA_WARPS = MMA_THREADS / 32;

// Of a row and a span: its scale for UNITs, its zero as each of eight nibbles, and as a pair of half floats.
struct alignas(16) MmaGrid {
    float scale;
    uint32_t nibbles, zeros, unused;
};

template <class Scalar, int BITS> class MmaGrids {
  public:
    struct Shared {
        MmaGrid of[MMA_WARPS][2][TILE_SPANS][MMA_ROWS];
    };

    // Of rows `first` and on.
    __device__ __forceinline__ MmaGrids(const Packed& weight, Shared& shared, int64_t first)
        : weight(weight), grids(shared.of[threadIdx.x / 32]), lane(threadIdx.x % 32) {
        const int64_t row = weight.row_or_last(first + lane / 2);
        first_scale = pinned(uint32_t(row * weight.groups));
        first_zero = pinned(uint32_t(row * weight.zero_bytes));
        first_own = pinned(uint32_t(&grids[0][lane % 2][lane / 2] - &grids[0][0][0]));
        first_taken = pinned(uint32_t(&grids[0][0][lane / 4] - &grids[0][0][0]));
    }

    // Early, since it takes long until they are here.
    __device__ __forceinline__ void fetch(int tile) {
        const uint32_t own = uint32_t((tile * TILE_SPANS + lane % 2) * SPAN) >> weight.group_shift,
                       last = uint32_t(weight.groups) - 1, group = own < last ? own : last;
        scale = raw_number(weight.scale, weight.scales, first_scale + group);
        if (!weight.zero) return;
        const CodePlace place = place_of_code(group, BITS);
        const uint8_t* from = weight.zero + first_zero + place.byte;
        shift = place.shift;
        low = from[0];
        if (8 % BITS != 0) high = place.straddles ? from[1] : 0;
    }

    // What was fetched, for the whole warp after the next barrier.
    __device__ __forceinline__ void bring(int tile) {
        const uint32_t zero = weight.zero ? (low | high << 8) >> shift & ((1u << BITS) - 1) : 1u << (BITS - 1);
        const float units = number_of_raw(scale, weight.scales) * (1 / CodeFloat<Scalar>::UNIT);
        (&grids[0][0][0])[uint32_t(tile) % 2 * (TILE_SPANS * MMA_ROWS) + first_own] = {units, zero * 0x11111111u,
                                                                                       pair_of_zeros<Scalar>(zero), 0};
    }

    // Of the lane's rows g and g + 8.
    __device__ __forceinline__ MmaGrid of(int tile, int span, int i) const {
        return (&grids[0][0][0])[uint32_t(tile) % 2 * (TILE_SPANS * MMA_ROWS) + span * MMA_ROWS + first_taken + 8 * i];
    }

  private:
    const Packed& weight;
    MmaGrid (&grids)[2][TILE_SPANS][MMA_ROWS];
    int lane;
    uint32_t first_scale, first_zero, first_own, first_taken, scale = 0, low = 0, high = 0, shift = 0;
};

// Values have none.
template <class Scalar> class MmaGrids<Scalar, 0> {
  public:
    struct Shared {};
    __device__ __forceinline__ MmaGrids(const Packed&, Shared&, int64_t) {}
    __device__ __forceinline__ void fetch(int) {}
    __device__ __forceinline__ void bring(int) {}
    __device__ __forceinline__ MmaGrid of(int, int, int) const { return {1.0f, 0, 0, 0}; }
};
} // namespace gpu
