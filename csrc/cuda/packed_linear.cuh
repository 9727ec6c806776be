// packed_linear on CUDA: few tokens straight from the packed bytes, which are read once; for many tokens rows are
// decoded first. Sums are in float32. Free of torch.
#pragma once
#include <utility>

#include "packed_tiles.cuh"
#include "rows.cuh"

namespace gpu {
constexpr int LINEAR_THREADS = 128;
constexpr int LINEAR_WARPS = LINEAR_THREADS / 32;
constexpr int MOST_TOKENS = 8;         // at once
constexpr int MOST_SUMS = 16;          // of a warp: rows times tokens
constexpr int64_t ENOUGH_WARPS = 4096; // to fill a large GPU: an estimate, not yet measured on one

// Rows of a warp: they share the inputs that it has loaded. Of one token what costs is instructions: with codes of 4
// bits in all columns 7 a weight in pairs of rows, 5.3 in fours; for fours of 3 bits registers do not suffice.
template <int BITS, bool MASKED, int TOKENS> HOST_DEVICE constexpr int rows_of_warp() {
    if (MASKED) return TOKENS <= 2 ? 1 : 2;
    return TOKENS == 1 && BITS != 3 ? 4 : 2;
}

template <class Scalar> struct Linear {
    const Scalar *x, *bias; // [tokens, cols]; [rows] or null
    Scalar* out;            // [tokens, rows]
    int tokens;
    bool wide; // whether the inputs of a chunk can be loaded 16 bytes at a time
    int parts; // of a row's columns, each to a warp: 1 << parts_shift, no more than tiles
    int parts_shift;

    Linear(const PackedWeight& weight, const void* x, const void* bias, void* out, int64_t tokens)
        : x(static_cast<const Scalar*>(x)), bias(static_cast<const Scalar*>(bias)), out(static_cast<Scalar*>(out)),
          tokens(int(tokens)), wide(weight.cols % CHUNK == 0 && aligned_for<Vector<uint32_t, 4>>(x)), parts(1),
          parts_shift(0) {}
};

// Dynamic shared memory begins with it; the stages of the warps follow.
struct LinearShared {
    float sums[LINEAR_WARPS][MOST_SUMS];
};

inline size_t linear_shared_bytes(const Packed& weight, int rows) {
    return sizeof(LinearShared) + (weight.masked() ? size_t(LINEAR_WARPS) * rows * weight.stage_bytes : 0);
}

__device__ __forceinline__ uint8_t* stage_of(const Packed& weight, int slot) {
    return reinterpret_cast<uint8_t*>(&shared_memory<LinearShared>() + 1) + int64_t(slot) * weight.stage_bytes;
}

// Out of a shuffle, so that the compiler knows that it is the same for a whole warp.
__device__ __forceinline__ int own_warp() { return __shfl_sync(ALL_LANES, int(threadIdx.x / 32), 0); }

// The sums of all lanes and of all parts, rounded once.
template <class Scalar, int ROWS, int TOKENS>
__device__ __forceinline__ void finish(const Packed& weight, const Linear<Scalar>& linear, float (&sums)[ROWS][TOKENS],
                                       int64_t first, int warp, int lane, int part) {
    auto& shared = shared_memory<LinearShared>();
#pragma unroll
    for (int r = 0; r < ROWS; ++r)
#pragma unroll
        for (int t = 0; t < TOKENS; ++t) {
            float sum = sums[r][t];
            for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(ALL_LANES, sum, step);
            if (lane == 0) shared.sums[warp][r * TOKENS + t] = sum;
        }
    __syncthreads();
    const int64_t row = first + lane / TOKENS;
    const int token = lane % TOKENS;
    if (part != 0 || lane >= ROWS * TOKENS || row >= weight.rows || token >= linear.tokens) return;
    float sum = linear.bias ? to_float(linear.bias[row]) : 0.0f;
    for (int other = 0; other < linear.parts; ++other) sum += shared.sums[warp + other][lane];
    from_float(sum, linear.out[token * weight.rows + row]);
}

// Blocks of a multiprocessor that must find room: it decides how many registers a thread may have.
template <bool MASKED, int TOKENS> HOST_DEVICE constexpr int least_blocks() {
    if (TOKENS == 1) return MASKED ? 6 : 4;
    return TOKENS == 2 ? 5 : TOKENS == 4 ? 4 : 3;
}

template <class Item, int COUNT> struct Several {
    Item item[COUNT];
};

// ROWS rows of one part of the columns to a warp.
template <class Scalar, int BITS, bool MASKED, int TOKENS>
__global__ void __launch_bounds__(LINEAR_THREADS, least_blocks<MASKED, TOKENS>())
    few_tokens_kernel(Packed weight, Linear<Scalar> linear) {
    constexpr int ROWS = rows_of_warp<BITS, MASKED, TOKENS>();
    static_assert(ROWS * TOKENS <= MOST_SUMS);
    const int warp = own_warp(), lane = threadIdx.x % 32, part = warp & (linear.parts - 1);
    const int64_t first = ((int64_t(blockIdx.x) * LINEAR_WARPS + warp) >> linear.parts_shift) * ROWS;
    const auto row = [&](int r) { return weight.row_or_last(first + r); };
    const int begin = weight.tiles * part >> linear.parts_shift;
    const int end = weight.tiles * (part + 1) >> linear.parts_shift;

    using Tiles = RowTiles<BITS, MASKED, true>;
    auto tiles = [&]<int... R>(std::integer_sequence<int, R...>) {
        return Several<Tiles, ROWS>{{Tiles(weight, row(R), begin, stage_of(weight, warp * ROWS + R))...}};
    }(std::make_integer_sequence<int, ROWS>());
    float sums[ROWS][TOKENS] = {};
    for (int tile = begin; tile < end; ++tile) {
#pragma unroll
        for (int r = 0; r < ROWS; ++r) tiles.item[r].open(tile, end);
#pragma unroll
        for (int r = 0; r < ROWS; ++r) tiles.item[r].arrive();
#pragma unroll(MASKED || TOKENS > 2 ? 1 : TILE_CHUNKS)
        for (int k = 0; k < TILE_CHUNKS; ++k) {
            const int own = chunk_of(tile, k), last = weight.chunks - 1;
            const bool inside = own <= last;
            Chunk chunks[ROWS];
#pragma unroll
            for (int r = 0; r < ROWS; ++r) chunks[r] = tiles.item[r].chunk(k);
#pragma unroll
            for (int t = 0; t < TOKENS; ++t) {
                float x[CHUNK];
                const int token = TOKENS == 1 || t < linear.tokens ? t : linear.tokens - 1;
                load_inputs(linear.x, uint32_t(token * weight.width), (inside ? own : last) * CHUNK, weight.width,
                            linear.wide, x);
#pragma unroll
                for (int r = 0; r < ROWS; ++r) {
                    float sum = 0;
#pragma unroll
                    for (int j = 0; j < CHUNK; ++j) sum += chunks[r].weight[j] * x[j];
                    sums[r][t] += inside ? sum * chunks[r].scale : 0.0f;
                }
                if (t % 2 == 1) keep_order(); // not the inputs of all tokens in registers at once
            }
        }
    }
    finish<Scalar, ROWS, TOKENS>(weight, linear, sums, first, warp, lane, part);
}

// Rows `first` and on, as many as blocks have warps, to `to` [rows, cols]; a warp to a row. A row that does not fit
// gets a NaN, which makes all of its products NaN.
template <class Scalar, int BITS, bool MASKED> __global__ void __launch_bounds__(LINEAR_THREADS, 8)
    decode_kernel(Packed weight, Scalar* to, int64_t first, int64_t rows) {
    const int warp = own_warp();
    const int64_t own = int64_t(blockIdx.x) * LINEAR_WARPS + warp;
    if (own >= rows) return; // a whole warp; no barrier of the block follows
    RowTiles<BITS, MASKED, false> tiles(weight, first + own, 0, stage_of(weight, warp));
    Scalar* out = to + own * weight.cols;
    using Wide = Vector<Scalar, 16 / sizeof(Scalar)>;
    constexpr int EACH = 16 / sizeof(Scalar);
    const bool wide = weight.cols % CHUNK == 0 && aligned_for<Wide>(to);
    for (int tile = 0; tile < weight.tiles; ++tile) {
        tiles.open(tile, weight.tiles);
#pragma unroll 1
        for (int k = 0; k < TILE_CHUNKS; ++k) {
            const int col = chunk_of(tile, k) * CHUNK;
            const Chunk chunk = tiles.chunk(k);
            if (col >= weight.width) continue;
            Vector<Scalar, CHUNK> numbers;
#pragma unroll
            for (int j = 0; j < CHUNK; ++j) from_float(chunk.weight[j] * chunk.scale, numbers.part[j]);
#pragma unroll
            for (int j = 0; wide && j < CHUNK; j += EACH) {
                Wide some;
#pragma unroll
                for (int p = 0; p < EACH; ++p) some.part[p] = numbers.part[j + p];
                store_wide(out + col + j, some);
            }
            if (wide) continue;
#pragma unroll
            for (int j = 0; j < CHUNK; ++j)
                if (col + j < weight.width) out[col + j] = numbers.part[j];
        }
    }
}

// body(bits, whether masked), both known to the compiler; where there is a mask 4 bits stand for 2 and 3, too.
template <class Body> void with_form(const PackedWeight& weight, const Body& body) {
    using std::integral_constant;
    const std::true_type masked;
    const std::false_type all;
    if (weight.bits == 0) return body(integral_constant<int, 0>(), masked);
    if (weight.bits < 8 && weight.masked()) return body(integral_constant<int, 4>(), masked);
    if (weight.bits == 2) return body(integral_constant<int, 2>(), all);
    if (weight.bits == 3) return body(integral_constant<int, 3>(), all);
    if (weight.bits == 4) return body(integral_constant<int, 4>(), all);
    weight.masked() ? body(integral_constant<int, 8>(), masked) : body(integral_constant<int, 8>(), all);
}

template <class Scalar, int TOKENS> void few_tokens_of(const Packed& weight, Linear<Scalar> linear, Stream stream) {
    with_form(weight, [&](auto bits, auto masked) {
        constexpr int ROWS = rows_of_warp<bits, masked, TOKENS>();
        const int64_t warps = ceil_div(weight.rows, ROWS);
        while (2 * linear.parts <= LINEAR_WARPS && 2 * linear.parts <= weight.tiles &&
               warps * linear.parts < ENOUGH_WARPS)
            linear.parts = 1 << ++linear.parts_shift;
        launch(few_tokens_kernel<Scalar, bits, masked, TOKENS>,
               dim3(unsigned(ceil_div(warps, LINEAR_WARPS / linear.parts))), LINEAR_THREADS,
               linear_shared_bytes(weight, ROWS), stream, weight, linear);
    });
}

// 1 to MOST_TOKENS tokens, rows and columns of at least one.
template <class Scalar> void few_tokens(const Packed& weight, const Linear<Scalar>& linear, Stream stream) {
    if (linear.tokens == 1) return few_tokens_of<Scalar, 1>(weight, linear, stream);
    if (linear.tokens == 2) return few_tokens_of<Scalar, 2>(weight, linear, stream);
    if (linear.tokens <= 4) return few_tokens_of<Scalar, 4>(weight, linear, stream);
    few_tokens_of<Scalar, 8>(weight, linear, stream);
}

// `rows` rows from `first` on, to [rows, cols].
template <class Scalar> void decode_rows(const Packed& weight, void* to, int64_t first, int64_t rows, Stream stream) {
    with_form(weight, [&](auto bits, auto masked) {
        launch(decode_kernel<Scalar, bits, masked>, dim3(unsigned(ceil_div(rows, LINEAR_WARPS))), LINEAR_THREADS,
               linear_shared_bytes(weight, 1), stream, weight, static_cast<Scalar*>(to), first, rows);
    });
}

// What a product made of some rows, to their columns of `out`, with the bias. sums is null where there is no product.
template <class Scalar> struct PlaceSums {
    const Scalar *sums, *bias; // [tokens, some rows]; [rows] or null
    Scalar* out;               // [tokens, rows]
    int64_t rows, first, some;

    __device__ __forceinline__ void operator()(int64_t token, int64_t r) const {
        const float sum = sums ? to_float(sums[token * some + r]) : 0.0f;
        const float offset = bias ? to_float(bias[first + r]) : 0.0f;
        from_float(sum + offset, out[token * rows + first + r]);
    }
};

template <class Scalar> void place_sums(const Linear<Scalar>& linear, const void* sums, int64_t rows, int64_t first,
                                        int64_t some, Stream stream) {
    map_rows(PlaceSums<Scalar>{static_cast<const Scalar*>(sums), linear.bias, linear.out, rows, first, some},
             linear.tokens, some, stream);
}
} // namespace gpu
