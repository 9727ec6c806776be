// packed_linear on CUDA by tensor cores: few tokens of half floats, codes or some of the values. A warp multiplies
// sixteen rows straight from the packed bytes, which are read once. Sums are in float32. Free of torch.
#pragma once
#include <type_traits>

#include "packed_linear.cuh"
#include "packed_mma_all.cuh"
#include "packed_mma_masked_bytes.cuh"
#include "packed_mma_masked_values.cuh"
#include "packed_mma_values.cuh"

namespace gpu {
constexpr int MMA_BLOCKS = 2; // of a multiprocessor that must find room: with three, registers do not suffice
// At once on a H200 of 132 multiprocessors: more parts of rows would wait for others. An estimate, not yet measured.
constexpr int64_t MOST_MMA_WARPS = 132 * MMA_BLOCKS * MMA_WARPS;

template <class Scalar> constexpr Number own_number() {
    return std::is_same_v<Scalar, Bfloat16> ? Number::bfloat16 : Number::float16;
}

// Whether the kernel below takes the form: what a lane has of a span lies in one group, and what it has of x and of a
// mask can be loaded at once.
template <class Scalar> bool fits_mma(const Packed& weight, const Linear<Scalar>& linear) {
    using Wide = Vector<uint32_t, 4>;
    if (std::is_same_v<Scalar, float> || weight.cols % SPAN != 0 || !aligned_for<Wide>(linear.x)) return false;
    const bool one_group = weight.groups <= 1 || (weight.group_shift >= 0 && weight.group_size >= LANE_COLUMNS);
    const bool two_in_four = weight.indices && weight.keep == 2 && weight.group == 4;
    const bool values = weight.bits == 0 && (weight.bitmask || two_in_four) && weight.values == own_number<Scalar>();
    const bool codes = weight.bits > 0 && (!weight.indices || two_in_four);
    return one_group && (values || codes) && aligned_for<Wide>(weight.entries) && aligned_for<Wide>(weight.bitmask) &&
           aligned_for<Wide>(weight.indices);
}

// Dynamic shared memory begins with it.
template <class Scalar, int BITS, class Rows> struct MmaShared {
    union {
        typename MmaGrids<Scalar, BITS>::Shared grids;
        float sums[MMA_WARPS][MMA_ROWS][MMA_COLUMNS];
    };
    typename Rows::Shared rows;
};

// Of a lane's token and columns of a span: zeros where it has no token, and where its columns are of another group than
// the column of the sums.
struct Inputs {
    Vector<uint32_t, 4> units[LANE_COLUMNS / 8];
};

// The products of a span: sums += scale * (weights as half floats - zeros) inputs.
template <class Scalar, int BITS, class Rows>
__device__ __forceinline__ void multiply_span(Rows& rows, const MmaGrid (&grids)[2], const Vector<float, 4>& scales,
                                              const Inputs& inputs, float (&sums)[4]) {
    const uint32_t zeros[4] = {grids[0].zeros, grids[1].zeros, grids[0].zeros, grids[1].zeros};
    const uint32_t offsets[2] = {offset_of_zeros(zeros[0]), offset_of_zeros(zeros[1])}; // of those that are lifted
    float codes[4] = {}, surplus[4] = {};
#pragma unroll
    for (int unit = 0; unit < LANE_COLUMNS / 8; unit += 2) {
        uint32_t pairs[2][2][4];
        rows.template take<Scalar>(unit, grids, pairs);
#pragma unroll
        for (int u = 0; u < 2; ++u) {
            const auto& eight = inputs.units[unit + u].part;
#pragma unroll
            for (int k = 0; k < 4; k += 2) {
                uint32_t a[4] = {pairs[u][0][k], pairs[u][1][k], pairs[u][0][k + 1], pairs[u][1][k + 1]};
#pragma unroll
                for (int i = 0; LIFTED<Scalar, BITS> && i < 4; ++i) a[i] = lift_codes(a[i], offsets[i % 2]);
                uint32_t b[2] = {eight[k], eight[k + 1]};
                if (Rows::PAIRS_OF_FOUR) { // columns 0 and 4, 1 and 5 ...
                    b[0] = permute(eight[k / 2], eight[k / 2 + 2], 0x5410);
                    b[1] = permute(eight[k / 2], eight[k / 2 + 2], 0x7632);
                }
                mma(codes, a, b, Scalar());
                if (BITS > 0 && !LIFTED<Scalar, BITS>) mma(surplus, zeros, b, Scalar());
            }
        }
    }
#pragma unroll
    for (int k = 0; k < 4; ++k) sums[k] += (codes[k] - surplus[k]) * scales.part[k];
}

// The sums of all parts and groups of tokens `token` and on, rounded once. own: as of mma.
template <class Scalar> __device__ __forceinline__ void finish_mma(const Packed& weight, const Linear<Scalar>& linear,
                                                                   const float (&own)[4],
                                                                   float (&sums)[MMA_WARPS][MMA_ROWS][MMA_COLUMNS],
                                                                   int64_t first, int token, int warp, int part) {
    const SpanGroups groups(weight);
    const int lane = threadIdx.x % 32, left = linear.tokens - token, most = groups.token(MMA_COLUMNS);
    __syncthreads(); // sums lie where other warps had grids
#pragma unroll
    for (int k = 0; k < 4; ++k) sums[warp][lane / 4 + k / 2 * 8][lane % 4 * 2 + k % 2] = own[k];
    __syncthreads();
    if (part != 0) return;
#pragma unroll 1
    for (int i = lane; i < MMA_ROWS * (left < most ? left : most); i += 32) {
        const int64_t row = first + i % MMA_ROWS;
        if (row >= weight.rows) continue;
        float sum = linear.bias ? to_float(linear.bias[row]) : 0.0f;
        for (int other = warp; other < warp + linear.parts; ++other)
            for (int j = 0; j < groups.count(); ++j)
                sum += sums[other][i % MMA_ROWS][i / MMA_ROWS * groups.count() + j];
        from_float(sum, linear.out[(token + i / MMA_ROWS) * weight.rows + row]);
    }
}

// MMA_ROWS rows of one part of the columns to a warp, and as many tokens as have room beside the groups of a span: the
// next block multiplies the next tokens by the same rows.
template <class Scalar, int BITS, class Rows> __global__ void __launch_bounds__(MMA_THREADS, MMA_BLOCKS)
    mma_kernel(Packed weight, Linear<Scalar> linear) {
    auto& shared = shared_memory<MmaShared<Scalar, BITS, Rows>>();
    const int warp = own_warp(), lane = threadIdx.x % 32, part = warp & (linear.parts - 1);
    const SpanGroups groups(weight);
    const int blocks = groups.blocks(linear.tokens), first_token = groups.token(blockIdx.x % blocks * MMA_COLUMNS);
    const int64_t first = ((int64_t(blockIdx.x / blocks) * MMA_WARPS + warp) >> linear.parts_shift) * MMA_ROWS;
    constexpr int SPANS = tile_spans<Rows>;
    const int spans = weight.width / SPAN, tiles = (spans + SPANS - 1) / SPANS;
    const int begin = tiles * part >> linear.parts_shift, end = tiles * (part + 1) >> linear.parts_shift;
    const int column = lane / 4, token = first_token + groups.token(column); // of a lane's inputs
    const bool has_inputs = token < linear.tokens && groups.of_column(column) == groups.of_lane();
    const Scalar* x =
        linear.x + (has_inputs ? token : 0) * int64_t(weight.width) + begin * SPANS * SPAN + lane % 4 * LANE_COLUMNS;

    MmaGrids<Scalar, BITS> grids(weight, shared.grids, first);
    grids.fetch(begin);
    Rows rows(weight, shared.rows, first, begin, end, part);
    float sums[4] = {};
    Inputs inputs = {};
    for (int tile = begin - 1; tile < end; ++tile) {
        arrive_copies();
        __syncwarp(); // the next tile is brought to where the one before has been read
        if (tile + 1 < end) {
            rows.bring(tile + 1);
            grids.bring(tile + 1);
            if (tile + 2 < end) grids.fetch(tile + 2);
        }
        if (tile < begin) continue;
        rows.open(tile);
#pragma unroll
        for (int s = 0; s < SPANS; ++s) {
            if (s > 0 && tile * SPANS + s >= spans) break; // no tile begins behind the last
#pragma unroll
            for (int unit = 0; unit < LANE_COLUMNS / 8; ++unit)
                if (has_inputs) inputs.units[unit] = load_wide<Vector<uint32_t, 4>>(x + unit * 8);
            rows.open_span(s);
            MmaGrid both[2] = {};
            Vector<float, 4> scales;
            grids.take(tile, s, both, scales);
            multiply_span<Scalar, BITS>(rows, both, scales, inputs, sums);
            x += SPAN;
        }
    }
#pragma unroll
    for (int i = 0; i < 2; ++i)
        if (rows.damaged(i)) sums[2 * i] = sums[2 * i + 1] = float_of(0x7fc00000u);
    finish_mma(weight, linear, sums, shared.sums, first, first_token, warp, part);
}

template <class Scalar, int BITS, class Rows>
void launch_mma(const Packed& weight, Linear<Scalar> linear, Stream stream) {
    const int64_t blocks = SpanGroups(weight).blocks(linear.tokens), warps = ceil_div(weight.rows, MMA_ROWS),
                  tiles = ceil_div(weight.cols, tile_spans<Rows> * SPAN);
    while (2 * linear.parts <= MMA_WARPS && 2 * linear.parts <= tiles &&
           2 * linear.parts * warps * blocks <= MOST_MMA_WARPS)
        linear.parts = 1 << ++linear.parts_shift;
    static_assert(sizeof(MmaShared<Scalar, BITS, Rows>) <= 99 * 1024); // sm_86 has no more, sm_90 room for two
    launch(mma_kernel<Scalar, BITS, Rows>, dim3(unsigned(ceil_div(warps, MMA_WARPS / linear.parts) * blocks)),
           MMA_THREADS, sizeof(MmaShared<Scalar, BITS, Rows>), stream, weight, linear);
}

template <class Scalar, int BITS> void launch_mma_of(const Packed& weight, Linear<Scalar> linear, Stream stream) {
    if (weight.bitmask) return launch_mma<Scalar, BITS, MaskedRows<BITS>>(weight, linear, stream);
    if (weight.indices) return launch_mma<Scalar, BITS, PatternRows<BITS>>(weight, linear, stream);
    launch_mma<Scalar, BITS, AllRows<BITS>>(weight, linear, stream);
}

// 1 to MMA_COLUMNS tokens, rows and columns of at least one, of a form that fits.
template <class Scalar> void few_tokens_mma(const Packed& weight, const Linear<Scalar>& linear, Stream stream) {
    if (weight.bits == 0 && weight.bitmask) return launch_mma<Scalar, 0, MaskedValues>(weight, linear, stream);
    if (weight.bits == 0) return launch_mma<Scalar, 0, PatternValues>(weight, linear, stream);
    if (weight.bits == 2) return launch_mma_of<Scalar, 2>(weight, linear, stream);
    if (weight.bits == 3) return launch_mma_of<Scalar, 3>(weight, linear, stream);
    if (weight.bits == 4) return launch_mma_of<Scalar, 4>(weight, linear, stream);
    launch_mma_of<Scalar, 8>(weight, linear, stream);
}
} // namespace gpu
