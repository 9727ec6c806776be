// How a warp shares sixteen rows between its lanes for products by tensor cores, and the grids of their codes, from
// where lanes have loaded them to where a product needs them. Lane l, with g = l / 4 and t = l % 4, takes rows g and
// g + 8, and of a span of 128 columns numbers 32t to 32t + 31: four units of eight columns. Free of torch.
#pragma once
#include "packed_linear.cuh"
#include "packed_spread.cuh"

namespace gpu {
constexpr int MMA_ROWS = 16, MMA_COLUMNS = 8;         // of a product
constexpr int SPAN_SHIFT = 7, SPAN = 1 << SPAN_SHIFT; // columns that a quad of lanes has at a time
constexpr int LANE_COLUMNS = SPAN / 4;
constexpr int TILE_SPANS = 2; // that a warp brings at a time: a lane the grid of one row and span
constexpr int MMA_TILE = TILE_SPANS * SPAN;
template <class Rows> constexpr int tile_spans = TILE_SPANS; // of rows without grids it may be another number
constexpr int MMA_THREADS = 256, MMA_WARPS = MMA_THREADS / 32;

// A span may have two or four groups, a lane's columns always have one. The sums of a product have eight columns, so
// each group gets some of its own: column n is of token n / groups and of group n % groups, and lanes of other groups
// have zeros there for inputs. Sums of a group are scaled as those of a span are; there are fewer tokens at a time.
struct SpanGroups {
    int shift; // a span has 1 << shift groups

    HOST_DEVICE explicit SpanGroups(const Packed& weight)
        : shift(weight.group_shift < SPAN_SHIFT ? SPAN_SHIFT - weight.group_shift : 0) {}
    // That multiply the same rows, each by other tokens.
    HOST_DEVICE int blocks(int tokens) const { return int(ceil_div(int64_t(tokens) << shift, MMA_COLUMNS)); }
    __device__ __forceinline__ int count() const { return 1 << shift; }
    __device__ __forceinline__ int of_lane() const { return int(threadIdx.x % 4) >> (2 - shift); }
    __device__ __forceinline__ int of_column(int n) const { return n & (count() - 1); }
    __device__ __forceinline__ int token(int n) const { return n >> shift; }
};

// Of a row and a span, the zero of the lane's own columns: as each of eight nibbles, and as a pair of half floats.
struct MmaGrid {
    uint32_t nibbles, zeros;
};

template <class Scalar, int BITS> class MmaGrids {
    // Of a tile, of rows g and g + 8 of a span: what a lane takes of both lies together.
    struct Stage {
        Vector<float, 4> scales[TILE_SPANS][MMA_ROWS / 2][2]; // of either two groups: of both rows, for UNITs; where
                                                              // there is but one group, twice
        Vector<uint32_t, 2> zeros[TILE_SPANS][MMA_ROWS / 2];  // of either row a byte for each group
    };

  public:
    struct Shared {
        Stage of[MMA_WARPS][2];
    };

    // Of rows `first` and on.
    __device__ __forceinline__ MmaGrids(const Packed& weight, Shared& shared, int64_t first)
        : weight(weight), groups(weight), shared(shared), lane(threadIdx.x % 32) {
        const int64_t row = weight.row_or_last(first + lane / 2);
        first_scale = pinned(uint32_t(row * weight.groups));
        first_zero = pinned(uint32_t(row * weight.zero_bytes));
        const Stage& stage = shared.of[own_warp()][0];
        own_scales = pinned(place_of(stage.scales[lane % 2][lane / 2 % 8][0].part + lane / 16 * 2));
        own_zeros = pinned(place_of(stage.zeros[lane % 2][lane / 2 % 8].part + lane / 16));
        taken_scales = pinned(place_of(stage.scales[0][lane / 4] + groups.of_column(lane % 4 * 2) / 2));
        taken_zeros = pinned(place_of(stage.zeros[0] + lane / 4));
        selector = pinned(BITS == 8 ? 0x4040 | groups.of_lane() * 0x0101 : groups.of_lane() * 0x1111);
        scale_shift = pinned(weight.scales == Number::float32 ? 0 : 16);
#pragma unroll
        for (int b = 0; b < ZERO_BYTES; ++b) zeros[b] = weight.zero ? 0 : MIDDLES >> 8 * b & 0xff; // and they stay so
    }

    // Early, since it takes long until they are here.
    __device__ __forceinline__ void fetch(int tile) {
        const uint32_t group = uint32_t((tile * TILE_SPANS + lane % 2) * SPAN) >> weight.group_shift,
                       last = uint32_t(weight.groups) - groups.count(), begin = group < last ? group : last;
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            if (j == groups.count()) break;
            scales[j] = raw_number(weight.scale, weight.scales, first_scale + begin + j);
        }
        if (!weight.zero) return;
        const CodePlace place = place_of_code(begin, BITS);
        const uint8_t* from = weight.zero + first_zero + place.byte;
        shift = place.shift;
#pragma unroll
        for (int b = 0; b < ZERO_BYTES; ++b) {
            if (b > 0 && b * 8 >= (8 % BITS == 0 ? 0 : int(shift)) + groups.count() * BITS) break;
            zeros[b] = from[b];
        }
    }

    // What was fetched, for the whole warp after the next barrier.
    __device__ __forceinline__ void bring(int tile) {
        uint32_t codes = 0;
#pragma unroll
        for (int b = 0; b < ZERO_BYTES; ++b) codes |= zeros[b] << 8 * b;
        codes >>= shift;
        const uint32_t buffer = uint32_t(tile) % 2 * sizeof(Stage);
        float* const to = at<float>(own_scales + buffer);
        uint32_t bytes = 0;
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            if (j == groups.count()) break;
            const float number = weight.scales == Number::float16 ? from_float16(uint16_t(scales[j]))
                                                                  : float_of(scales[j] << scale_shift);
            const float units = number * (1 / CodeFloat<Scalar, BITS>::UNIT);
            to[j / 2 * 4 + j % 2] = units;
            if (j == 0) to[1] = units;
            bytes |= (codes >> j * BITS & ((1u << BITS) - 1)) * (BITS == 8 ? 1 : 0x11) << 8 * j;
        }
        *at<uint32_t>(own_zeros + buffer) = bytes;
    }

    // Of the lane's rows g and g + 8. scales: of its four sums.
    __device__ __forceinline__ void take(int tile, int span, MmaGrid (&both)[2], Vector<float, 4>& scales) const {
        const uint32_t buffer = uint32_t(tile) % 2 * sizeof(Stage);
        scales = *at<Vector<float, 4>>(taken_scales + buffer + span * sizeof(Stage::scales) / TILE_SPANS);
        const auto zeros = *at<Vector<uint32_t, 2>>(taken_zeros + buffer + span * sizeof(Stage::zeros) / TILE_SPANS);
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const uint32_t own = permute(zeros.part[i], CodeFloat<Scalar, BITS>::HIGH, selector);
            both[i] = {own, BITS == 8 ? own : pair_of_codes<Scalar>(own)};
        }
    }

  private:
    static constexpr int ZERO_BYTES = BITS == 8 ? 4 : 2; // of a span
    static constexpr uint32_t MIDDLES = (1u << (BITS - 1)) * (1u | 1u << BITS | 1u << 2 * BITS | 1u << 3 * BITS);

    // Shared memory by bytes.
    template <class Value> __device__ __forceinline__ Value* at(uint32_t byte) const {
        return reinterpret_cast<Value*>(reinterpret_cast<uint8_t*>(&shared) + byte);
    }
    __device__ __forceinline__ uint32_t place_of(const void* part) const {
        return uint32_t(static_cast<const uint8_t*>(part) - reinterpret_cast<uint8_t*>(&shared));
    }

    const Packed& weight;
    const SpanGroups groups;
    Shared& shared;
    int lane;
    uint32_t scale_shift, first_scale, first_zero, own_scales, own_zeros, taken_scales, taken_zeros, selector,
        scales[4] = {}, zeros[ZERO_BYTES] = {}, shift = 0;
};

// Values have none.
template <class Scalar> class MmaGrids<Scalar, 0> {
  public:
    struct Shared {};
    __device__ __forceinline__ MmaGrids(const Packed&, Shared&, int64_t) {}
    __device__ __forceinline__ void fetch(int) {}
    __device__ __forceinline__ void bring(int) {}
    __device__ __forceinline__ void take(int, int, MmaGrid (&)[2], Vector<float, 4>& scales) const {
        scales = {{1.0f, 1.0f, 1.0f, 1.0f}};
    }
};
} // namespace gpu
