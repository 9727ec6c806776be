// Sixteen rows of codes of 8 bits of some columns, those of a bitmask, as operands of tensor cores. Free of torch.
#pragma once
#include "packed_mma_rows.cuh"

namespace gpu {
// By mask of eight columns: four bits for each, which of eight bytes it gets, the last one where it has no entry. Once
// only: there is no room for more beside stages of codes of 8 bits, if a second block is to fit.
struct ByteSelectors {
    uint32_t of_mask[256];

    // All threads of a block.
    __device__ __forceinline__ void fill();
};
constexpr ByteSelectors all_byte_selectors() {
    ByteSelectors all{};
    for (uint32_t mask = 0; mask < 256; ++mask)
        for (uint32_t column = 0, rank = 0; column < 8; ++column) {
            const bool has = mask >> column & 1;
            all.of_mask[mask] |= (has ? rank : 7) << 4 * column;
            rank += has;
        }
    return all;
}
static __device__ constexpr ByteSelectors BYTE_SELECTORS = all_byte_selectors();
__device__ __forceinline__ void ByteSelectors::fill() {
    for (int i = threadIdx.x; i < 256; i += MMA_THREADS) of_mask[i] = BYTE_SELECTORS.of_mask[i];
}

template <> class MaskedRows<8> : public MaskedTiles<8, TILE_SPANS, ByteSelectors> {
    using Tiles = MaskedTiles<8, TILE_SPANS, ByteSelectors>;

  public:
    __device__ __forceinline__ MaskedRows(const Packed& weight, Shared& shared, int64_t first, int begin, int end,
                                          int part)
        : Tiles(weight, shared, first, begin, end, part) {}

    // Units `unit` and unit + 1: pairs[which][row]. Units in turn.
    template <class Scalar>
    __device__ __forceinline__ void take(int unit, const MmaGrid (&grids)[2], uint32_t (&pairs)[2][2][4]) {
#pragma unroll
        for (int i = 0; i < 2; ++i)
#pragma unroll
            for (int u = 0; u < 2; ++u) {
                const int shift = 8 * (unit + u);
                // four times the mask: where its selectors are
                const uint32_t mask = (shift == 0 ? placed[i].mask << 2 : placed[i].mask >> (shift - 2)) & 0x3fc;
                const uint32_t selectors = *at<const uint32_t>(mask), bit = placed[i].bit;
                const auto* from = at<const uint32_t>(bit >> 3 & ~3u);
                expect_unwritten(from, 12); // what lies behind the last entry is not selected
                const uint32_t low = __funnelshift_r(from[0], from[1], bit);
                uint32_t high = __funnelshift_r(from[1], from[2], bit);
                high = permute(high, grids[i].zeros, mask == 0x3fc ? 0x3210 : 0x4210); // the zero for the eighth code
                pairs_of_bytes<Scalar, 8>(permute(low, high, selectors), permute(low, high, selectors >> 16),
                                          pairs[u][i]);
                placed[i].bit += __popc(mask) * 8;
            }
    }
};
} // namespace gpu
