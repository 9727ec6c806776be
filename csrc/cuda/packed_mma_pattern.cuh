// Sixteen rows of codes of two of four neighbours each as operands of tensor cores: lanes have rows and columns as in
// packed_mma_grids.cuh, and load the codes and places of a span at once. Free of torch.
#pragma once
#include "packed_mma_spans.cuh"

namespace gpu {
constexpr uint32_t NO_PLACES = 0x88888888; // selectors of what is no two places

// By a byte of places, those of eight columns: four bits for each, which byte of {codes 0, 2, 1, 3; zero} it gets.
constexpr Selectors all_pattern_selectors() {
    Selectors all{};
    for (uint32_t places = 0; places < 256; ++places)
        for (uint32_t column = 0; column < 8; ++column) {
            const uint32_t group = column / 4, two = places >> 4 * group;
            const bool first = (two & 3) == column % 4, second = (two >> 2 & 3) == column % 4;
            const bool ascend = (two & 3) < (two >> 2 & 3);
            all.of_mask[places] |= (!ascend ? 8 : first ? group : second ? 2 + group : 4) << 4 * column;
        }
    return all;
}
static __device__ constexpr Selectors PATTERN_SELECTORS = all_pattern_selectors();

// Whether one of the four lanes of a row met them, of which `selectors` are all together.
__device__ __forceinline__ bool no_places_in_quad(uint32_t selectors) {
    const uint32_t lanes = __ballot_sync(ALL_LANES, (selectors & NO_PLACES) != 0);
    return lanes >> threadIdx.x % 32 / 4 * 4 & 15;
}

template <int BITS> class PatternRows {
    static constexpr int CODE_WORDS = BITS == 3 ? 2 : BITS / 2; // of a lane: 16 codes

  public:
    static constexpr bool PAIRS_OF_FOUR = false;
    struct Shared {
        Selectors selectors;
    };

    // As of MaskedTiles.
    __device__ __forceinline__ PatternRows(const Packed& weight, Shared& shared, int64_t first, int begin, int end, int)
        : shared(shared), spans(weight, begin, end) {
        for (int i = threadIdx.x; i < 256; i += MMA_THREADS) shared.selectors.of_mask[i] = PATTERN_SELECTORS.of_mask[i];
        __syncthreads();
        const int lane = threadIdx.x % 32;
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const int64_t row = weight.row_or_last(first + lane / 4 + 8 * i);
            codes[i] = weight.entries + row * weight.row_bytes + begin * TILE_SPANS * CODE_BYTES + lane % 4 * 2 * BITS;
            places[i] = weight.indices + row * weight.index_bytes + begin * TILE_SPANS * PLACE_BYTES + lane % 4 * 4;
        }
        spans.begin(*this);
    }

    __device__ __forceinline__ void open(int) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            codes[i] += TILE_SPANS * CODE_BYTES;
            places[i] += TILE_SPANS * PLACE_BYTES;
        }
    }
    __device__ __forceinline__ void bring(int) {}
    __device__ __forceinline__ void open_span(int span) { spans.open(span, *this); }

    // Units `unit` and unit + 1: pairs[which][row].
    template <class Scalar>
    __device__ __forceinline__ void take(int unit, const MmaGrid (&grids)[2], uint32_t (&pairs)[2][2][4]) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const auto& words = spans.of_row(i); // the last: places
#pragma unroll
            for (int u = 0; u < 2; ++u) {
                const uint32_t selectors = shared.selectors.of_mask[words[CODE_WORDS] >> 8 * (unit + u) & 0xff];
                const uint32_t four = four_codes<Scalar>(words, unit + u);
                pairs_of_bytes<Scalar, BITS>(permute(four, grids[i].zeros, selectors),
                                             permute(four, grids[i].zeros, selectors >> 16), pairs[u][i]);
                all_selectors[i] |= selectors;
            }
        }
    }

    // Whether the lane's i-th row is. The whole warp.
    __device__ __forceinline__ bool damaged(int i) const { return no_places_in_quad(all_selectors[i]); }

    // For SpansAhead.
    __device__ __forceinline__ void load(int i, int span, uint32_t (&words)[CODE_WORDS + 1]) const {
        const uint8_t* from = codes[i] + span * CODE_BYTES;
        if constexpr (BITS == 3) {
            const auto at = [&](int k) { return uint32_t(load_wide<uint16_t>(from + 2 * k)); };
            words[0] = at(0) | at(1) << 16;
            words[1] = at(2);
        } else {
            load_words<CODE_WORDS, CODE_WORDS>(from, words);
        }
        words[CODE_WORDS] = load_wide<uint32_t>(places[i] + span * PLACE_BYTES);
    }

  private:
    static constexpr int CODE_BYTES = SPAN * BITS / 16, PLACE_BYTES = SPAN / 8; // of a span

    // Of a unit, a byte each: codes 0, 2, 1 and 3.
    template <class Scalar>
    __device__ __forceinline__ static uint32_t four_codes(const uint32_t (&words)[CODE_WORDS + 1], int unit) {
        if constexpr (BITS == 8) return permute(words[unit], 0, 0x3120);
        const int bit = unit / 2 * 8 * BITS, word = bit / 32;
        const uint32_t next = words[word + 1 < CODE_WORDS ? word + 1 : word];
        const uint32_t eight = nibbles_of<BITS>(__funnelshift_r(words[word], next, bit % 32));
        return permute(bytes_of_nibbles<Scalar, 0>(eight), bytes_of_nibbles<Scalar, 1>(eight),
                       unit % 2 == 0 ? 0x5410 : 0x7632);
    }

    Shared& shared;
    const uint8_t *codes[2], *places[2]; // of the lane's rows, the next tile
    SpansAhead<CODE_WORDS + 1, BITS == 8 ? 1 : 2> spans;
    uint32_t all_selectors[2] = {0, 0}; // that were taken, together
};
} // namespace gpu
