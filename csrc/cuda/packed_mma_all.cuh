// Sixteen rows of codes of all columns as operands of tensor cores: lanes have rows and columns as in
// packed_mma_rows.cuh, and load the codes of a span at once. Free of torch.
#pragma once
#include "packed_mma_grids.cuh"

namespace gpu {
template <int BITS> class AllRows {
  public:
    static constexpr bool PAIRS_OF_FOUR = true;
    struct Shared {};

    // As of MaskedRows.
    __device__ __forceinline__ AllRows(const Packed& weight, Shared&, int64_t first, int begin, int, int)
        : columns(weight.width) {
        const int lane = threadIdx.x % 32;
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const int64_t row = weight.row_or_last(first + lane / 4 + 8 * i);
            from[i] = weight.entries + row * weight.row_bytes + begin * TILE_SPANS * SPAN_BYTES + lane % 4 * 4 * BITS;
        }
    }

    // Tiles in turn: registers, not shared memory, hold the one that is opened and the next.
    __device__ __forceinline__ void open(int) {
#pragma unroll
        for (int s = 0; s < TILE_SPANS; ++s)
#pragma unroll
            for (int i = 0; i < 2; ++i) opened[s][i] = brought[s][i];
    }
    __device__ __forceinline__ void bring(int tile) {
#pragma unroll
        for (int s = 0; s < TILE_SPANS; ++s) {
            if ((tile * TILE_SPANS + s) * SPAN >= columns) break;
#pragma unroll
            for (int i = 0; i < 2; ++i) brought[s][i] = load(from[i] + s * SPAN_BYTES);
        }
#pragma unroll
        for (int i = 0; i < 2; ++i) from[i] += TILE_SPANS * SPAN_BYTES;
    }
    __device__ __forceinline__ void open_span(int span) { this->span = span; }

    // Units `unit` and unit + 1: pairs[which][row].
    template <class Scalar>
    __device__ __forceinline__ void take(int unit, const MmaGrid (&)[2], uint32_t (&pairs)[2][2][4]) {
#pragma unroll
        for (int u = 0; u < 2; ++u)
#pragma unroll
            for (int i = 0; i < 2; ++i) pairs_of_four<Scalar>(nibbles_of<BITS>(codes_of(unit + u, i)), pairs[u][i]);
    }

    __device__ __forceinline__ bool damaged(int) const { return false; }

  private:
    static constexpr int SPAN_BYTES = SPAN * BITS / 8;
    struct Words { // of a lane: 32 columns
        uint32_t part[BITS];
    };

    __device__ __forceinline__ static Words load(const uint8_t* from) {
        constexpr int EACH = BITS == 3 ? 1 : BITS; // words that are loaded at once
        Words words;
#pragma unroll
        for (int w = 0; w < BITS; w += EACH) {
            const auto some = load_wide<Vector<uint32_t, EACH>>(from + 4 * w);
#pragma unroll
            for (int part = 0; part < EACH; ++part) words.part[w + part] = some.part[part];
        }
        return words;
    }
    __device__ __forceinline__ uint32_t codes_of(int unit, int i) const {
        const int bit = unit * 8 * BITS, word = bit / 32;
        const auto& words = opened[span][i].part;
        return __funnelshift_r(words[word], words[word + 1 < BITS ? word + 1 : word], bit % 32);
    }

    int columns, span = 0;
    const uint8_t* from[2]; // of the lane's rows, what is brought next
    Words opened[TILE_SPANS][2], brought[TILE_SPANS][2] = {};
};
} // namespace gpu
