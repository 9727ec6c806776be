// Sixteen rows of codes of some columns, those of a bitmask, as operands of tensor cores: lanes have rows and columns
// as in packed_mma_grids.cuh. Free of torch.
#pragma once
#include "packed_mma_stage.cuh"

namespace gpu {
// By mask of eight columns: the selectors, and how many bits their codes take as nibbles. Sixteen times, so that the
// lanes of half a warp, each with its own, meet no other in a bank.
struct CodeSteps {
    static constexpr int COPIES = 16;
    Vector<uint32_t, 2> of_mask[256][COPIES];

    // All threads of a block.
    __device__ __forceinline__ void fill() {
        for (uint32_t mask = threadIdx.x; mask < 256; mask += MMA_THREADS) {
            const uint32_t selectors = SELECTORS.of_mask[mask], bits = 4 * __popc(mask);
#pragma unroll
            for (uint32_t k = 0; k < COPIES; k += 2) // two at once, neighbouring threads in other banks
                store_wide(&of_mask[mask][(k + 2 * mask) % COPIES],
                           Vector<uint32_t, 4>{selectors, bits, selectors, bits});
        }
    }
};

template <int BITS> class MaskedRows : public MaskedTiles<BITS, TILE_SPANS, CodeSteps> {
    using Tiles = MaskedTiles<BITS, TILE_SPANS, CodeSteps>;
    using Tiles::placed;

  public:
    // As of MaskedTiles.
    __device__ __forceinline__ MaskedRows(const Packed& weight, typename Tiles::Shared& shared, int64_t first,
                                          int begin, int end, int part)
        : Tiles(weight, shared, first, begin, end, part),
          copy(__shfl_sync(ALL_LANES, threadIdx.x % CodeSteps::COPIES * 8, threadIdx.x % 32)) {}

    // Units `unit` and unit + 1: pairs[which][row]. Units in turn.
    template <class Scalar>
    __device__ __forceinline__ void take(int unit, const MmaGrid (&grids)[2], uint32_t (&pairs)[2][2][4]) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const uint32_t mask = placed[i].mask, bit = placed[i].bit;
            const auto first = steps(unit == 0 ? mask << 7 : mask >> (8 * unit - 7)),
                       second = steps(mask >> (8 * unit + 1));
            const auto* from = this->template at<const uint32_t>(bit >> 3 & ~3u);
            expect_unwritten(from, 12); // what lies behind the last entry is masked off
            const uint32_t low = __funnelshift_r(from[0], from[1], bit),
                           high = BITS > 2 ? __funnelshift_r(from[1], from[2], bit) : 0;
            const uint32_t count = bits_of_codes(first.part[1]), more = bits_of_codes(second.part[1]);
            const uint32_t next = __funnelshift_rc(low, high, count);
            spread_nibbles<Scalar>(__funnelshift_rc(grids[i].nibbles, nibbles_of<BITS>(low), first.part[1]),
                                   first.part[0], pairs[0][i]);
            spread_nibbles<Scalar>(__funnelshift_rc(grids[i].nibbles, nibbles_of<BITS>(next), second.part[1]),
                                   second.part[0], pairs[1][i]);
            placed[i].bit += count + more;
        }
    }

  private:
    __device__ __forceinline__ static uint32_t bits_of_codes(uint32_t nibbles) {
        return BITS == 4 ? nibbles : nibbles * BITS / 4;
    }
    // 128 times a mask, among other bits.
    __device__ __forceinline__ Vector<uint32_t, 2> steps(uint32_t mask) const {
        return *this->template at<const Vector<uint32_t, 2>>((mask & 0x7f80) | copy);
    }

    uint32_t copy; // of the lane, in bytes; out of a shuffle, or it would be made anew of the thread each time
};
} // namespace gpu
