// Sixteen rows of values of some columns, those of a bitmask, as operands of tensor cores: lanes have rows and columns
// as in packed_mma_grids.cuh. Free of torch.
#pragma once
#include "packed_mma_stage.cuh"

namespace gpu {
// By the four bits of a mask that four columns are, upside down: two words. Their low halves select the bytes of either
// pair of columns out of {next two values; 0}; the upper half of the first the two values that are next after the first
// pair, out of four; that of the second is how many bits the values of all four take.
struct ValueSteps {
    uint32_t of_mask[2 * 16];

    // All threads of a block.
    __device__ __forceinline__ void fill();
};
constexpr ValueSteps all_value_steps() {
    constexpr uint32_t PAIRS[4] = {0x4444, 0x4410, 0x1044, 0x3210}, AFTER[3] = {0x3210, 0x5432, 0x7654};
    ValueSteps all{};
    for (uint32_t mask = 0; mask < 16; ++mask) {
        const uint32_t first = mask & 3, second = mask >> 2, before = first / 2 + first % 2,
                       count = before + second / 2 + second % 2;
        all.of_mask[2 * (15 - mask)] = PAIRS[first] | AFTER[before] << 16;
        all.of_mask[2 * (15 - mask) + 1] = PAIRS[second] | 16 * count << 16;
    }
    return all;
}
static __device__ constexpr ValueSteps VALUE_STEPS = all_value_steps();
__device__ __forceinline__ void ValueSteps::fill() {
    for (int i = threadIdx.x; i < 2 * 16; i += MMA_THREADS) of_mask[i] = VALUE_STEPS.of_mask[i];
}

// A tile is one span: the values of two would leave no room for a second block.
class MaskedValues : public MaskedTiles<16, 1, ValueSteps> {
    using Tiles = MaskedTiles<16, 1, ValueSteps>;

  public:
    // As of MaskedTiles.
    __device__ __forceinline__ MaskedValues(const Packed& weight, Shared& shared, int64_t first, int begin, int end,
                                            int part)
        : Tiles(weight, shared, first, begin, end, part) {}

    // Units `unit` and unit + 1: pairs[which][row]. Units in turn.
    template <class Scalar>
    __device__ __forceinline__ void take(int unit, const MmaGrid (&)[2], uint32_t (&pairs)[2][2][4]) {
#pragma unroll
        for (int i = 0; i < 2; ++i)
#pragma unroll
            for (int four = 0; four < 4; ++four) { // columns
                // eight times what the mask lacks: where the words of the table are
                const int bits = 8 * unit + 4 * four;
                const uint32_t lacks = ~(bits == 0 ? placed[i].mask << 3 : placed[i].mask >> (bits - 3)) & 0x78;
                const auto steps = *at<const Vector<uint32_t, 2>>(lacks);
                const uint32_t bit = placed[i].bit;
                const auto* from = at<const uint32_t>(bit >> 3 & ~3u);
                expect_unwritten(from, 12); // what lies behind the last value is not selected
                // only where all four have a value, and the first begins in the middle of a word
                const uint32_t third = (lacks | (~bit & 16)) == 0 ? from[2] : 0;
                const uint32_t low = __funnelshift_r(from[0], from[1], bit),
                               high = __funnelshift_r(from[1], third, bit);
                uint32_t (&two)[4] = pairs[four / 2][i];
                two[four % 2 * 2] = permute(low, 0, steps.part[0]);
                two[four % 2 * 2 + 1] = permute(permute(low, high, steps.part[0] >> 16), 0, steps.part[1]);
                placed[i].bit += steps.part[1] >> 16;
            }
    }
};

template <> constexpr int tile_spans<MaskedValues> = 1;
} // namespace gpu
