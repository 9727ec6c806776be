// The grids of sixteen rows of codes, from where lanes have loaded them to where a product by tensor cores needs them.
// Free of torch.
#pragma once
#include "packed_linear.cuh"
#include "packed_spread.cuh"

namespace gpu {
constexpr int MMA_ROWS = 16, MMA_TOKENS = 8; // of a product
constexpr int SPAN = 128;                    // columns that a quad of lanes has at a time
constexpr int TILE_SPANS = 2;                // that a warp brings at a time: a lane the grid of one row and span
constexpr int MMA_TILE = TILE_SPANS * SPAN;
template <class Rows> constexpr int tile_spans = TILE_SPANS; // of rows without grids it may be another number
constexpr int MMA_THREADS = 256, MMA_WARPS = MMA_THREADS / 32;

// Of a row and a span: its scale for UNITs, its zero as each of eight nibbles, and as a pair of half floats.
struct MmaGrid {
    float scale;
    uint32_t nibbles, zeros;
};

// Of a span, for rows g and g + 8: scales and nibbles of both; zeros of both, twice, as a product has them.
struct GridsStage {
    Vector<uint32_t, 4> grids[TILE_SPANS][MMA_ROWS / 2], zeros[TILE_SPANS][MMA_ROWS / 2];
};

template <class Scalar, int BITS> class MmaGrids {
  public:
    struct Shared {
        GridsStage of[MMA_WARPS][2];
    };

    // Of rows `first` and on.
    __device__ __forceinline__ MmaGrids(const Packed& weight, Shared& shared, int64_t first)
        : weight(weight), shared(shared) {
        const int lane = threadIdx.x % 32;
        const int64_t row = weight.row_or_last(first + lane / 2);
        first_scale = pinned(uint32_t(row * weight.groups));
        first_zero = pinned(uint32_t(row * weight.zero_bytes));
        const auto& stage = shared.of[own_warp()][0];
        own_column = pinned(lane % 2 * SPAN);
        first_own = pinned(place_of(stage.grids[lane % 2][lane / 2 % 8].part + lane / 16));
        first_taken = pinned(place_of(stage.grids[0] + lane / 4));
        scale_shift = pinned(weight.scales == Number::float32 ? 0 : 16);
        has_zeros = pinned(weight.zero != nullptr);
        if (!has_zeros) low = 1u << (BITS - 1); // and stays so
    }

    // Early, since it takes long until they are here.
    __device__ __forceinline__ void fetch(int tile) {
        const uint32_t own = (tile * MMA_TILE + own_column) >> weight.group_shift, last = uint32_t(weight.groups) - 1,
                       group = own < last ? own : last;
        scale = raw_number(weight.scale, weight.scales, first_scale + group);
        if (!has_zeros) return;
        constexpr uint32_t WHOLE = 8 % BITS == 0 ? 8 / BITS : 8; // codes that begin where a byte does
        const CodePlace place = place_of_code(group % WHOLE, BITS);
        const uint8_t* from = weight.zero + first_zero + group / WHOLE * (WHOLE * BITS / 8) + place.byte;
        shift = place.shift;
        low = from[0];
        if (8 % BITS != 0) high = place.straddles ? from[1] : 0;
    }

    // What was fetched, for the whole warp after the next barrier.
    __device__ __forceinline__ void bring(int tile) {
        const uint32_t zero = (low | high << 8) >> shift & ((1u << BITS) - 1);
        const float number =
            weight.scales == Number::float16 ? from_float16(uint16_t(scale)) : float_of(scale << scale_shift);
        const float units = number * (1 / CodeFloat<Scalar>::UNIT);
        uint32_t* own = at<uint32_t>(first_own + uint32_t(tile) % 2 * sizeof(GridsStage));
        own[0] = bits_of(units);
        own[2] = zero * 0x11111111u;
        own += offsetof(GridsStage, zeros) / sizeof(uint32_t);
        own[0] = own[2] = pair_of_zeros<Scalar>(zero);
    }

    // Of the lane's rows g and g + 8.
    __device__ __forceinline__ void take(int tile, int span, MmaGrid (&both)[2], uint32_t (&zeros)[4]) const {
        const auto* stage = at<const GridsStage>(first_taken + uint32_t(tile) % 2 * sizeof(GridsStage));
        const auto grids = stage->grids[span][0], all = stage->zeros[span][0];
#pragma unroll
        for (int i = 0; i < 2; ++i) both[i] = {float_of(grids.part[i]), grids.part[2 + i], all.part[i]};
#pragma unroll
        for (int i = 0; i < 4; ++i) zeros[i] = all.part[i];
    }

  private:
    template <class Value> __device__ __forceinline__ Value* at(uint32_t byte) const {
        return reinterpret_cast<Value*>(reinterpret_cast<uint8_t*>(&shared) + byte);
    }
    __device__ __forceinline__ uint32_t place_of(const void* part) const {
        return uint32_t(static_cast<const uint8_t*>(part) - reinterpret_cast<uint8_t*>(&shared));
    }

    const Packed& weight;
    Shared& shared;
    uint32_t has_zeros, scale_shift, first_scale, first_zero, own_column, first_own, first_taken;
    uint32_t scale = 0, low = 0, high = 0, shift = 0; // as fetched
};

// Values have none.
template <class Scalar> class MmaGrids<Scalar, 0> {
  public:
    struct Shared {};
    __device__ __forceinline__ MmaGrids(const Packed&, Shared&, int64_t) {}
    __device__ __forceinline__ void fetch(int) {}
    __device__ __forceinline__ void bring(int) {}
    __device__ __forceinline__ void take(int, int, MmaGrid (&both)[2], uint32_t (&)[4]) const {
        both[0].scale = both[1].scale = 1.0f;
    }
};
} // namespace gpu
