// Sixteen rows of codes of all columns as operands of tensor cores: lanes have rows and columns as in
// packed_mma_grids.cuh, and load the codes of a span at once. Free of torch.
#pragma once
#include "packed_mma_spans.cuh"

namespace gpu {
template <int BITS> class AllRows {
  public:
    static constexpr bool PAIRS_OF_FOUR = BITS < 8;
    struct Shared {};

    // As of MaskedTiles.
    __device__ __forceinline__ AllRows(const Packed& weight, Shared&, int64_t first, int begin, int end, int)
        : spans(weight, begin, end) {
        const int lane = threadIdx.x % 32;
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const int64_t row = weight.row_or_last(first + lane / 4 + 8 * i);
            from[i] = weight.entries + row * weight.row_bytes + begin * TILE_BYTES + lane % 4 * 4 * BITS;
        }
        spans.begin(*this);
    }

    __device__ __forceinline__ void open(int) {
#pragma unroll
        for (int i = 0; i < 2; ++i) from[i] += TILE_BYTES;
    }
    __device__ __forceinline__ void bring(int) {}
    __device__ __forceinline__ void open_span(int span) { spans.open(span, *this); }

    // Units `unit` and unit + 1: pairs[which][row].
    template <class Scalar>
    __device__ __forceinline__ void take(int unit, const MmaGrid (&)[2], uint32_t (&pairs)[2][2][4]) {
#pragma unroll
        for (int u = 0; u < 2; ++u)
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                const auto& words = spans.of_row(i);
                if constexpr (BITS == 8)
                    pairs_of_bytes<Scalar, BITS>(words[2 * (unit + u)], words[2 * (unit + u) + 1], pairs[u][i]);
                else
                    pairs_of_four<Scalar>(nibbles_of<BITS>(codes_of(words, unit + u)), pairs[u][i]);
            }
    }

    __device__ __forceinline__ bool damaged(int) const { return false; }

    // For SpansAhead.
    __device__ __forceinline__ void load(int i, int span, uint32_t (&words)[BITS]) const {
        load_words<BITS, BITS == 3 ? 1 : BITS == 8 ? 4 : BITS>(from[i] + span * SPAN_BYTES, words);
    }

  private:
    static constexpr int SPAN_BYTES = SPAN * BITS / 8, TILE_BYTES = TILE_SPANS * SPAN_BYTES;

    __device__ __forceinline__ static uint32_t codes_of(const uint32_t (&words)[BITS], int unit) {
        const int bit = unit * 8 * BITS, word = bit / 32;
        return __funnelshift_r(words[word], words[word + 1 < BITS ? word + 1 : word], bit % 32);
    }

    const uint8_t* from[2]; // of the lane's rows, the next tile
    SpansAhead<BITS, BITS == 8 ? 1 : 2> spans;
};
} // namespace gpu
