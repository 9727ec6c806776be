// Sixteen rows of codes of some columns, those of a bitmask, as operands of tensor cores. Free of torch.
#pragma once
#include "packed_mma_stage.cuh"

namespace gpu {
template <int BITS> class MaskedRows : public MaskedTiles<BITS, TILE_SPANS, Selectors> {
    using Tiles = MaskedTiles<BITS, TILE_SPANS, Selectors>;
    using Tiles::placed;

  public:
    __device__ __forceinline__ MaskedRows(const Packed& weight, typename Tiles::Shared& shared, int64_t first,
                                          int begin, int end, int part)
        : Tiles(SELECTORS, weight, shared, first, begin, end, part) {}

    // Units `unit` and unit + 1: pairs[which][row]. Units in turn.
    template <class Scalar>
    __device__ __forceinline__ void take(int unit, const MmaGrid (&grids)[2], uint32_t (&pairs)[2][2][4]) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            // four times the masks: where their selectors are
            const uint32_t mask = placed[i].mask, first = (unit == 0 ? mask << 2 : mask >> (8 * unit - 2)) & 0x3fc,
                           second = mask >> (8 * unit + 6) & 0x3fc, bit = placed[i].bit;
            const auto* from = this->template at<const uint32_t>(bit >> 3 & ~3u);
            expect_unwritten(from, 12); // what lies behind the last entry is masked off
            const uint32_t low = __funnelshift_r(from[0], from[1], bit),
                           high = BITS > 2 ? __funnelshift_r(from[1], from[2], bit) : 0;
            const uint32_t next = __funnelshift_rc(low, high, __popc(first) * BITS);
            spread_nibbles<Scalar>(nibbles_of<BITS>(low), first == 0x3fc, *this->template at<uint32_t>(first),
                                   grids[i].last, pairs[0][i]);
            spread_nibbles<Scalar>(nibbles_of<BITS>(next), second == 0x3fc, *this->template at<uint32_t>(second),
                                   grids[i].last, pairs[1][i]);
            placed[i].bit += __popc(first) * BITS + __popc(second) * BITS;
        }
    }
};
} // namespace gpu
