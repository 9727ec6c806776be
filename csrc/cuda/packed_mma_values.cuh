// Sixteen rows of values of two of four neighbours each as operands of tensor cores: lanes have rows and columns as in
// packed_mma_grids.cuh, and load the values and places of a span at once. Free of torch.
#pragma once
#include "packed_mma_pattern.cuh"

namespace gpu {
// By four bits of places: 16 bits for either pair of the four columns, which bytes of {first value, second value, 0}.
constexpr Selectors all_value_selectors() {
    Selectors all{};
    for (uint32_t places = 0; places < 16; ++places)
        for (uint32_t column = 0; column < 4; ++column) {
            const uint32_t first = places & 3, second = places >> 2;
            const uint32_t low = column == first ? 0 : column == second ? 2 : 4;
            all.of_mask[places] |= (first < second ? low | (low + 1) << 4 : NO_PLACES & 0xff) << 8 * column;
        }
    return all;
}
static __device__ constexpr Selectors VALUE_SELECTORS = all_value_selectors();

class PatternValues {
    static constexpr int VALUES = 8; // words of them that a lane has

  public:
    static constexpr bool PAIRS_OF_FOUR = false;
    struct Shared {
        Selectors selectors; // no more than 16 of them
    };

    // As of MaskedTiles.
    __device__ __forceinline__ PatternValues(const Packed& weight, Shared& shared, int64_t first, int begin, int end,
                                             int)
        : shared(shared), spans(weight, begin, end) {
        for (int i = threadIdx.x; i < 16; i += MMA_THREADS) shared.selectors.of_mask[i] = VALUE_SELECTORS.of_mask[i];
        __syncthreads();
        const int lane = threadIdx.x % 32;
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const int64_t row = weight.row_or_last(first + lane / 4 + 8 * i);
            values[i] = weight.entries + row * weight.row_bytes + begin * MMA_TILE + lane % 4 * 32;
            places[i] = weight.indices + row * weight.index_bytes + begin * (MMA_TILE / 8) + lane % 4 * 4;
        }
        spans.begin(*this);
    }

    __device__ __forceinline__ void open(int) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            values[i] += MMA_TILE;
            places[i] += MMA_TILE / 8;
        }
    }
    __device__ __forceinline__ void bring(int) {}
    __device__ __forceinline__ void open_span(int span) { spans.open(span, *this); }

    // Units `unit` and unit + 1: pairs[which][row].
    template <class Scalar>
    __device__ __forceinline__ void take(int unit, const MmaGrid (&)[2], uint32_t (&pairs)[2][2][4]) {
#pragma unroll
        for (int u = 0; u < 2; ++u)
#pragma unroll
            for (int i = 0; i < 2; ++i)
#pragma unroll
                for (int q = 0; q < 2; ++q) {
                    const int four = 2 * (unit + u) + q; // columns; two values are a word
                    const uint32_t selectors = shared.selectors.of_mask[spans.of_row(i)[VALUES] >> 4 * four & 15];
                    const uint32_t two = spans.of_row(i)[four];
                    pairs[u][i][2 * q] = permute(two, 0, selectors);
                    pairs[u][i][2 * q + 1] = permute(two, 0, selectors >> 16);
                    all_selectors[i] |= selectors;
                }
    }

    // Whether the lane's i-th row is. The whole warp.
    __device__ __forceinline__ bool damaged(int i) const { return no_places_in_quad(all_selectors[i]); }

    // For SpansAhead.
    __device__ __forceinline__ void load(int i, int span, uint32_t (&words)[VALUES + 1]) const {
        load_words<VALUES, 4>(values[i] + span * SPAN, words);
        words[VALUES] = load_wide<uint32_t>(places[i] + span * (SPAN / 8));
    }

  private:
    Shared& shared;
    const uint8_t *values[2], *places[2]; // of the lane's rows, the next tile
    SpansAhead<VALUES + 1, 1> spans;
    uint32_t all_selectors[2] = {0, 0}; // that were taken, together
};
} // namespace gpu
