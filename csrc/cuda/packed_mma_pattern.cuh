// Sixteen rows of codes of two of four neighbours each as operands of tensor cores: lanes have rows and columns as in
// packed_mma_rows.cuh, and load the codes and places of a span at once. Free of torch.
#pragma once
#include "packed_mma_grids.cuh"

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
  public:
    static constexpr bool PAIRS_OF_FOUR = false;
    struct Shared {
        Selectors selectors;
    };

    // As of MaskedRows.
    __device__ __forceinline__ PatternRows(const Packed& weight, Shared& shared, int64_t first, int begin, int, int)
        : shared(shared), columns(weight.width) {
        for (int i = threadIdx.x; i < 256; i += MMA_THREADS) shared.selectors.of_mask[i] = PATTERN_SELECTORS.of_mask[i];
        __syncthreads();
        const int lane = threadIdx.x % 32;
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const int64_t row = weight.row_or_last(first + lane / 4 + 8 * i);
            codes[i] = weight.entries + row * weight.row_bytes + begin * TILE_SPANS * CODE_BYTES + lane % 4 * 2 * BITS;
            places[i] = weight.indices + row * weight.index_bytes + begin * TILE_SPANS * PLACE_BYTES + lane % 4 * 4;
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
            for (int i = 0; i < 2; ++i)
                brought[s][i] = {load_codes(codes[i] + s * CODE_BYTES),
                                 load_wide<uint32_t>(places[i] + s * PLACE_BYTES)};
        }
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            codes[i] += TILE_SPANS * CODE_BYTES;
            places[i] += TILE_SPANS * PLACE_BYTES;
        }
    }
    __device__ __forceinline__ void open_span(int span) { this->span = span; }

    // Units `unit` and unit + 1: pairs[which][row].
    template <class Scalar>
    __device__ __forceinline__ void take(int unit, const MmaGrid (&grids)[2], uint32_t (&pairs)[2][2][4]) {
        constexpr uint32_t HIGH = CodeFloat<Scalar>::HIGH;
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const Part& part = opened[span][i];
            const uint32_t eight = nibbles_of<BITS>(uint32_t(part.codes >> unit / 2 * 8 * BITS));
            const uint32_t even = eight & 0x0f0f0f0fu, odd = eight >> 4 & 0x0f0f0f0fu;
#pragma unroll
            for (int u = 0; u < 2; ++u) {
                const uint32_t selectors = shared.selectors.of_mask[part.places >> 8 * (unit + u) & 0xff];
                const uint32_t four = permute(even, odd, u == 0 ? 0x5410 : 0x7632);
                const uint32_t low = permute(four, grids[i].zeros, selectors),
                               high = permute(four, grids[i].zeros, selectors >> 16);
                pairs[u][i][0] = permute(low, HIGH, 0x4140);
                pairs[u][i][1] = permute(low, HIGH, 0x4342);
                pairs[u][i][2] = permute(high, HIGH, 0x4140);
                pairs[u][i][3] = permute(high, HIGH, 0x4342);
                all_selectors[i] |= selectors;
            }
        }
    }

    // Whether the lane's i-th row is. The whole warp.
    __device__ __forceinline__ bool damaged(int i) const { return no_places_in_quad(all_selectors[i]); }

  private:
    static constexpr int CODE_BYTES = SPAN * BITS / 16, PLACE_BYTES = SPAN / 8; // of a span
    using Codes = std::conditional_t<BITS == 2, uint32_t, uint64_t>;            // of a lane: 16
    struct Part {
        Codes codes;
        uint32_t places;
    };

    __device__ __forceinline__ static Codes load_codes(const uint8_t* from) {
        if constexpr (BITS != 3) return load_wide<Codes>(from);
        const auto at = [&](int i) { return uint32_t(load_wide<uint16_t>(from + 2 * i)); };
        return Codes(at(0) | at(1) << 16) | Codes(at(2)) << (BITS == 3 ? 32 : 0);
    }

    Shared& shared;
    int columns, span = 0;
    const uint8_t *codes[2], *places[2]; // of the lane's rows, what is brought next
    Part opened[TILE_SPANS][2], brought[TILE_SPANS][2] = {};
    uint32_t all_selectors[2] = {0, 0}; // that were taken, together
};
} // namespace gpu
