// packed_linear on CUDA by tensor cores: few tokens of half floats, codes of few bits. A warp multiplies sixteen rows
// straight from the packed bytes, which are read once. Sums are in float32. Free of torch.
#pragma once
#include <algorithm>

#include "packed_linear.cuh"
#include "packed_mma_rows.cuh"

namespace gpu {
constexpr int64_t ENOUGH_MMA_WARPS = 2048; // to fill a large GPU: an estimate, not yet measured on one

// Whether the kernel below takes the form; for x in half floats.
inline bool fits_mma(const PackedWeight& weight) {
    const bool span_in_group = 1ll << std::max(Packed(weight).group_shift, 0) >= SPAN;
    return span_in_group && weight.bitmask && weight.bits >= 2 && weight.bits <= 4;
}

// The grids of a lane's two rows, of one group.
template <class Scalar, int BITS> class MmaGrids {
    using Float = CodeFloat<Scalar>;

  public:
    float scale[2]; // of UNITs
    uint32_t zero[2];

    __device__ MmaGrids(const Packed& weight, int64_t first) : weight(weight) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const int64_t own = first + threadIdx.x % 32 / 4 + 8 * i, row = own < weight.rows ? own : weight.rows - 1;
            first_scale[i] = uint32_t(row * weight.groups);
            first_zero[i] = uint32_t(row * weight.zero_bytes);
        }
    }

    // Early; of the group of these columns.
    __device__ __forceinline__ void fetch(int span) {
        const uint32_t own = uint32_t(span * SPAN) >> weight.group_shift, last = uint32_t(weight.groups) - 1,
                       group = own < last ? own : last;
        const CodePlace place = place_of_code(group, BITS);
        shift = place.shift;
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            raw[i] = raw_number(weight.scale, weight.scales, first_scale[i] + group);
            if (!weight.zero) continue;
            const uint8_t* from = weight.zero + first_zero[i] + place.byte;
            bits[i] = from[0] | (place.straddles ? from[1] << 8 : 0);
        }
    }
    __device__ __forceinline__ void arrive() {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            scale[i] = number_of_raw(raw[i], weight.scales) * (1 / Float::UNIT);
            zero[i] = weight.zero ? bits[i] >> shift & ((1u << BITS) - 1) : 1u << (BITS - 1);
        }
    }

  private:
    const Packed& weight;
    uint32_t first_scale[2], first_zero[2], raw[2], bits[2], shift = 0;
};

// The inputs of eight columns of the lane's token as they lie, the first in the lowest half; 0 after the last column.
template <class Scalar> __device__ __forceinline__ Vector<uint32_t, 4> halves_at(const Linear<Scalar>& linear,
                                                                                 uint32_t first, int col, int width) {
    if (linear.wide && col < width) return load_wide<Vector<uint32_t, 4>>(linear.x + (first + uint32_t(col)));
    Vector<uint32_t, 4> halves = {};
    if (linear.wide) return halves;
#pragma unroll
    for (int j = 0; j < 8; ++j)
        if (col + j < width) halves.part[j / 2] |= uint32_t(linear.x[first + uint32_t(col + j)].bits) << j % 2 * 16;
    return halves;
}

// Dynamic shared memory begins with it.
template <class Rows> struct MmaShared {
    float sums[MMA_WARPS][4][32];
    typename Rows::Shared rows;
};

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
template <class Scalar, int BITS, class Rows> __global__ void __launch_bounds__(MMA_THREADS, 3)
    mma_kernel(Packed weight, Linear<Scalar> linear) {
    auto& shared = shared_memory<MmaShared<Rows>>();
    const int warp = own_warp(), lane = threadIdx.x % 32, part = warp & (linear.parts - 1);
    const int64_t first = ((int64_t(blockIdx.x) * MMA_WARPS + warp) >> linear.parts_shift) * MMA_ROWS;
    const int tiles = int(ceil_div(weight.width, MMA_TILE));
    const int begin = tiles * part >> linear.parts_shift, end = tiles * (part + 1) >> linear.parts_shift;
    const int token = lane / 4 < linear.tokens ? lane / 4 : linear.tokens - 1; // one again: its sums go nowhere
    const auto x = uint32_t(token * weight.width);

    MmaGrids<Scalar, BITS> grids(weight, first);
    grids.fetch(begin * (MMA_TILE / SPAN));
    Rows rows(weight, shared.rows, first, begin, end, part);
    float out[4] = {};
    for (int tile = begin; tile < end; ++tile) {
        rows.open(tile);
#pragma unroll 1
        for (int span = tile * (MMA_TILE / SPAN); span < (tile + 1) * (MMA_TILE / SPAN); ++span) {
            rows.open_span(span);
            grids.arrive();
            grids.fetch(span + 1);
            const uint32_t last[2] = {grids.zero[0] << 28, grids.zero[1] << 28};
            const uint32_t zeros[2] = {pair_of_zeros<Scalar>(grids.zero[0]), pair_of_zeros<Scalar>(grids.zero[1])};
            float sums[4] = {}, surplus[4] = {};
#pragma unroll
            for (int unit = 0; unit < SPAN / 32; unit += 2) {
                uint32_t pairs[2][2][4];
                rows.template take<Scalar>(last, pairs);
#pragma unroll
                for (int u = 0; u < 2; ++u) {
                    const int col = span * SPAN + lane % 4 * 32 + (unit + u) * 8;
                    const auto halves = halves_at(linear, x, col, weight.width);
#pragma unroll
                    for (int k = 0; k < 4; k += 2) {
                        const uint32_t a[4] = {pairs[u][0][k], pairs[u][1][k], pairs[u][0][k + 1], pairs[u][1][k + 1]};
                        const uint32_t b[2] = {halves.part[k], halves.part[k + 1]};
                        mma(sums, a, b, Scalar());
                        mma(surplus, {zeros[0], zeros[1], zeros[0], zeros[1]}, b, Scalar());
                    }
                }
            }
#pragma unroll
            for (int k = 0; k < 4; ++k) out[k] += (sums[k] - surplus[k]) * grids.scale[k / 2];
        }
    }
#pragma unroll
    for (int i = 0; i < 2; ++i)
        if (rows.damaged(i)) out[2 * i] = out[2 * i + 1] = float_of(0x7fc00000u);
    finish_mma(weight, linear, out, shared.sums, first, warp, part);
}

template <class Scalar, int BITS, class Rows>
void launch_mma(const Packed& weight, Linear<Scalar> linear, Stream stream) {
    const int64_t warps = ceil_div(weight.rows, MMA_ROWS), tiles = ceil_div(weight.cols, MMA_TILE);
    while (2 * linear.parts <= MMA_WARPS && 2 * linear.parts <= tiles && warps * linear.parts < ENOUGH_MMA_WARPS)
        linear.parts = 1 << ++linear.parts_shift;
    launch(mma_kernel<Scalar, BITS, Rows>, dim3(unsigned(ceil_div(warps, MMA_WARPS / linear.parts))), MMA_THREADS,
           sizeof(MmaShared<Rows>), stream, weight, linear);
}

// 1 to MMA_TOKENS tokens, rows and columns of at least one, of a form that fits.
template <class Scalar> void few_tokens_mma(const Packed& weight, const Linear<Scalar>& linear, Stream stream) {
    if (weight.bits == 2) return launch_mma<Scalar, 2, MaskedRows<2>>(weight, linear, stream);
    if (weight.bits == 3) return launch_mma<Scalar, 3, MaskedRows<3>>(weight, linear, stream);
    launch_mma<Scalar, 4, MaskedRows<4>>(weight, linear, stream);
}
} // namespace gpu
