// packed_linear on CUDA by tensor cores: few tokens of half floats, codes of few bits or some of the values. A warp
// multiplies sixteen rows straight from the packed bytes, which are read once. Sums are in float32. Free of torch.
#pragma once
#include <type_traits>

#include "packed_linear.cuh"
#include "packed_mma_all.cuh"
#include "packed_mma_masked_values.cuh"
#include "packed_mma_rows.cuh"
#include "packed_mma_values.cuh"

namespace gpu {
constexpr int MMA_BLOCKS = 2; // of a multiprocessor that must find room: with three, registers do not suffice
// At once on a H200 of 132 multiprocessors: more parts of rows would wait for others. An estimate, not yet measured.
constexpr int64_t MOST_MMA_WARPS = 132 * MMA_BLOCKS * MMA_WARPS;

template <class Scalar> constexpr Number own_number() {
    return std::is_same_v<Scalar, Bfloat16> ? Number::bfloat16 : Number::float16;
}

// Whether the kernel below takes the form: what a quad of lanes has at a time lies in one group, and what a lane has
// of x and of a mask can be loaded at once.
template <class Scalar> bool fits_mma(const Packed& weight, const Linear<Scalar>& linear) {
    using Wide = Vector<uint32_t, 4>;
    if (std::is_same_v<Scalar, float> || weight.cols % SPAN != 0 || !aligned_for<Wide>(linear.x)) return false;
    const bool one_group = weight.groups <= 1 || (weight.group_shift >= 0 && weight.group_size >= SPAN);
    const bool two_in_four = weight.indices && weight.keep == 2 && weight.group == 4;
    const bool values = weight.bits == 0 && (weight.bitmask || two_in_four) && weight.values == own_number<Scalar>();
    const bool codes = 2 <= weight.bits && weight.bits <= 4 && (!weight.indices || two_in_four);
    return one_group && (values || codes) && aligned_for<Wide>(weight.entries) && aligned_for<Wide>(weight.bitmask) &&
           aligned_for<Wide>(weight.indices);
}

// Dynamic shared memory begins with it.
template <class Scalar, int BITS, class Rows> struct MmaShared {
    float sums[MMA_WARPS][4][32];
    typename MmaGrids<Scalar, BITS>::Shared grids;
    typename Rows::Shared rows;
};

// The products of a span: sums += scale * (weights as half floats - zeros) inputs.
template <class Scalar, int BITS, class Rows>
__device__ __forceinline__ void multiply_span(Rows& rows, const MmaGrid (&grids)[2], const uint32_t (&zeros)[4],
                                              const Vector<uint32_t, 4> (&inputs)[SPAN / 32], float (&sums)[4]) {
    float codes[4] = {}, surplus[4] = {};
#pragma unroll
    for (int unit = 0; unit < SPAN / 32; unit += 2) {
        uint32_t pairs[2][2][4];
        rows.template take<Scalar>(unit, grids, pairs);
#pragma unroll
        for (int u = 0; u < 2; ++u) {
            const auto& eight = inputs[unit + u].part;
#pragma unroll
            for (int k = 0; k < 4; k += 2) {
                const uint32_t a[4] = {pairs[u][0][k], pairs[u][1][k], pairs[u][0][k + 1], pairs[u][1][k + 1]};
                uint32_t b[2] = {eight[k], eight[k + 1]};
                if (Rows::PAIRS_OF_FOUR) { // columns 0 and 4, 1 and 5 ...
                    b[0] = permute(eight[k / 2], eight[k / 2 + 2], 0x5410);
                    b[1] = permute(eight[k / 2], eight[k / 2 + 2], 0x7632);
                }
                mma(codes, a, b, Scalar());
                if (BITS > 0) mma(surplus, zeros, b, Scalar());
            }
        }
    }
#pragma unroll
    for (int k = 0; k < 4; ++k) sums[k] += (codes[k] - surplus[k]) * grids[k / 2].scale;
}

// The sums of all parts, rounded once. sums: rows g and g + 8, of each tokens 2t and 2t + 1.
template <class Scalar>
__device__ __forceinline__ void finish_mma(const Packed& weight, const Linear<Scalar>& linear, const float (&own)[4],
                                           float (&sums)[MMA_WARPS][4][32], int64_t first, int warp, int part) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int k = 0; k < 4; ++k) sums[warp][k][lane] = own[k];
    __syncthreads();
    if (part != 0) return;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
        const int64_t row = first + lane / 4 + k / 2 * 8;
        const int token = lane % 4 * 2 + k % 2;
        if (row >= weight.rows || token >= linear.tokens) continue;
        float sum = linear.bias ? to_float(linear.bias[row]) : 0.0f;
        for (int other = 0; other < linear.parts; ++other) sum += sums[warp + other][k][lane];
        from_float(sum, linear.out[token * weight.rows + row]);
    }
}

// MMA_ROWS rows of one part of the columns to a warp.
template <class Scalar, int BITS, class Rows> __global__ void __launch_bounds__(MMA_THREADS, MMA_BLOCKS)
    mma_kernel(Packed weight, Linear<Scalar> linear) {
    auto& shared = shared_memory<MmaShared<Scalar, BITS, Rows>>();
    const int warp = own_warp(), lane = threadIdx.x % 32, part = warp & (linear.parts - 1);
    const int64_t first = ((int64_t(blockIdx.x) * MMA_WARPS + warp) >> linear.parts_shift) * MMA_ROWS;
    constexpr int SPANS = tile_spans<Rows>;
    const int spans = weight.width / SPAN, tiles = (spans + SPANS - 1) / SPANS;
    const int begin = tiles * part >> linear.parts_shift, end = tiles * (part + 1) >> linear.parts_shift;
    const bool has_token = lane / 4 < linear.tokens;
    const Scalar* x =
        linear.x + (has_token ? lane / 4 : 0) * int64_t(weight.width) + begin * SPANS * SPAN + lane % 4 * 32;

    MmaGrids<Scalar, BITS> grids(weight, shared.grids, first);
    grids.fetch(begin);
    Rows rows(weight, shared.rows, first, begin, end, part);
    float sums[4] = {};
    Vector<uint32_t, 4> inputs[SPAN / 32] = {}; // of the lane's token, where it has one, and columns
    for (int tile = begin - 1; tile < end; ++tile) {
        arrive_copies();
        __syncwarp(); // the next tile is brought to where the one before has been read
        rows.open(tile);
        if (tile + 1 < end) {
            rows.bring(tile + 1);
            grids.bring(tile + 1);
            if (tile + 2 < end) grids.fetch(tile + 2);
        }
        if (tile < begin) continue;
#pragma unroll
        for (int s = 0; s < SPANS; ++s) {
            if (s > 0 && tile * SPANS + s >= spans) break; // none begins behind the last span
#pragma unroll
            for (int unit = 0; unit < SPAN / 32; ++unit)
                if (has_token) inputs[unit] = load_wide<Vector<uint32_t, 4>>(x + unit * 8);
            rows.open_span(s);
            MmaGrid own[2] = {};
            uint32_t zeros[4] = {};
            grids.take(tile, s, own, zeros);
            multiply_span<Scalar, BITS>(rows, own, zeros, inputs, sums);
            x += SPAN;
        }
    }
#pragma unroll
    for (int i = 0; i < 2; ++i)
        if (rows.damaged(i)) sums[2 * i] = sums[2 * i + 1] = float_of(0x7fc00000u);
    finish_mma(weight, linear, sums, shared.sums, first, warp, part);
}

template <class Scalar, int BITS, class Rows>
void launch_mma(const Packed& weight, Linear<Scalar> linear, Stream stream) {
    const int64_t warps = ceil_div(weight.rows, MMA_ROWS), tiles = ceil_div(weight.cols, tile_spans<Rows> * SPAN);
    while (2 * linear.parts <= MMA_WARPS && 2 * linear.parts <= tiles && 2 * linear.parts * warps <= MOST_MMA_WARPS)
        linear.parts = 1 << ++linear.parts_shift;
    static_assert(sizeof(MmaShared<Scalar, BITS, Rows>) <= 99 * 1024); // sm_86 has no more, sm_90 room for two
    launch(mma_kernel<Scalar, BITS, Rows>, dim3(unsigned(ceil_div(warps, MMA_WARPS / linear.parts))), MMA_THREADS,
           sizeof(MmaShared<Scalar, BITS, Rows>), stream, weight, linear);
}

template <class Scalar, int BITS> void launch_mma_of(const Packed& weight, Linear<Scalar> linear, Stream stream) {
    if (weight.bitmask) return launch_mma<Scalar, BITS, MaskedRows<BITS>>(weight, linear, stream);
    if (weight.indices) return launch_mma<Scalar, BITS, PatternRows<BITS>>(weight, linear, stream);
    launch_mma<Scalar, BITS, AllRows<BITS>>(weight, linear, stream);
}

// 1 to MMA_TOKENS tokens, rows and columns of at least one, of a form that fits.
template <class Scalar> void few_tokens_mma(const Packed& weight, const Linear<Scalar>& linear, Stream stream) {
    if (weight.bits == 0 && weight.bitmask) return launch_mma<Scalar, 0, MaskedValues>(weight, linear, stream);
    if (weight.bits == 0) return launch_mma<Scalar, 0, PatternValues>(weight, linear, stream);
    if (weight.bits == 2) return launch_mma_of<Scalar, 2>(weight, linear, stream);
    if (weight.bits == 3) return launch_mma_of<Scalar, 3>(weight, linear, stream);
    launch_mma_of<Scalar, 4>(weight, linear, stream);
}
} // namespace gpu
