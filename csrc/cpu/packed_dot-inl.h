// Dot products of one packed row with a few tokens, straight from its codes or values. Included once per instruction
// set, inside a namespace of its own that has the vectors of packed_isa.h; no include guard on purpose.
//
// Codes are read in words of WORD_BITS, and field j of each word meets LANES columns, or pairs of them, at once. So x
// is laid out in blocks: for every field the columns that it meets, then for every lane the sum of x over its columns,
// which the zero-point multiplies.

template <int FIELD> inline constexpr int fields = WORD_BITS / FIELD;
template <int FIELD> inline constexpr int lane_cols = 32 / FIELD;
template <int FIELD> inline constexpr int block_cols = LANES * lane_cols<FIELD>;
template <int FIELD> inline constexpr int block_floats = LANES * (fields<FIELD> + 1);

template <int FIELD> static void lay_out(const float* x, int64_t cols, float* to) {
    constexpr int count = block_cols<FIELD>;
    for (int64_t col = 0; col < cols; col += count, to += block_floats<FIELD>) {
        float last[count] = {};
        const bool whole = cols - col >= count;
        if (!whole) std::copy_n(x + col, cols - col, last);
        const float* from = whole ? x + col : last;
#pragma GCC unroll 8
        for (int i = 0; i < count; ++i) lay_out_column<FIELD>(from[i], i, to);
        for (int lane = 0; lane < LANES; ++lane, from += lane_cols<FIELD>)
            to[fields<FIELD> * LANES + lane] = std::accumulate(from, from + lane_cols<FIELD>, 0.0f);
    }
}

// Where the scale and zero of a block of columns come from: a group is `blocks` whole blocks, or `lanes` of one.
struct GridsOfBlocks {
    const float *scale, *zero; // of groups, with room for a vector more
    int64_t groups, blocks;
    int lanes = 0;
};

template <int FIELD, int TOKENS> struct CodeDots {
    Floats totals[TOKENS];
    const float* x; // of the block
    int64_t stride; // floats of a token

    CodeDots(const float* x, int64_t stride) : x(x), stride(stride) {
        for (auto& total : totals) total = zeros();
    }

    [[gnu::always_inline]] void add(Words codes, Floats scale, Floats zero) {
        Floats parts[TOKENS];
        for (int t = 0; t < TOKENS; ++t) parts[t] = negated_product(zero, load(x + t * stride + fields<FIELD> * LANES));
#pragma GCC unroll 16
        for (int j = 0; j < fields<FIELD>; ++j) {
            const auto numbers = numbers_of<FIELD>(codes, j);
            for (int t = 0; t < TOKENS; ++t) parts[t] = add_products(numbers, x + t * stride + j * LANES, parts[t]);
        }
        for (int t = 0; t < TOKENS; ++t) totals[t] = multiply_add(parts[t], scale, totals[t]);
        x += block_floats<FIELD>;
    }
};

// Groups of EACH blocks, known to the compiler; the last one may have fewer.
template <int EACH, class Dots, class Next> [[gnu::always_inline]] inline void
add_groups(Dots& dots, int64_t blocks, const GridsOfBlocks& grids, const Next& next) {
    int64_t g = 0, b = 0;
    for (; b + EACH <= blocks; ++g) {
        const Floats scale = all_of(grids.scale[g]), zero = all_of(grids.zero[g] + OFFSET);
#pragma GCC unroll 4
        for (int i = 0; i < EACH; ++i) dots.add(next(b++), scale, zero);
    }
    for (; b < blocks; ++b) dots.add(next(b), all_of(grids.scale[g]), all_of(grids.zero[g] + OFFSET));
}

// next(block) gives the codes of the next block.
template <int FIELD, int TOKENS, class Next> [[gnu::always_inline]] inline void
dot_codes(const float* x, int64_t stride, int64_t blocks, const GridsOfBlocks& grids, const Next& next, float* out) {
    CodeDots<FIELD, TOKENS> dots(x, stride);
    if (grids.lanes)
        for (int64_t b = 0; b < blocks; ++b) {
            const int64_t first = b * (LANES / grids.lanes);
            dots.add(next(b), repeated(load(grids.scale + first), grids.lanes),
                     plus(repeated(load(grids.zero + first), grids.lanes), all_of(OFFSET)));
        }
    else if (grids.blocks == 1)
        add_groups<1>(dots, blocks, grids, next);
    else if (grids.blocks == 2)
        add_groups<2>(dots, blocks, grids, next);
    else
        for (int64_t g = 0, b = 0; g < grids.groups; ++g) {
            const Floats scale = all_of(grids.scale[g]), zero = all_of(grids.zero[g] + OFFSET);
            for (const int64_t end = std::min(blocks, b + grids.blocks); b < end; ++b) dots.add(next(b), scale, zero);
        }
    for (int t = 0; t < TOKENS; ++t) out[t] = sum(dots.totals[t]);
}

// Which layout of x a weight asks for; 0: none of codes.
static int field_of(const PackedWeight& weight) {
    return weight.masked() || weight.bits == 3 ? expanded_field(weight.bits) : weight.bits;
}

// Run body with the width of a field as a constant.
template <class Body> static void for_field(int field, const Body& body) {
    if (field == 2) body(std::integral_constant<int, 2>());
    if (field == 4) body(std::integral_constant<int, 4>());
    if (field == 8) body(std::integral_constant<int, 8>());
}

// What a thread needs beside the row itself.
using DotBuffers = std::vector<uint8_t>;

template <int FIELD> static GridsOfBlocks grids_of(const PackedWeight& weight, const Row& row) {
    constexpr int64_t cols = block_cols<FIELD>;
    if (weight.groups <= 1) return {row.scale, row.zero, weight.groups, (weight.cols + cols - 1) / cols};
    if (weight.group_size % cols == 0) return {row.scale, row.zero, weight.groups, weight.group_size / cols};
    return {row.scale, row.zero, weight.groups, 0, static_cast<int>(weight.group_size / lane_cols<FIELD>)};
}

template <int FIELD, int TOKENS> static void dot_code_row(const PackedWeight& weight, const Row& row, const float* x,
                                                          int64_t stride, DotBuffers& buffers, float* out) {
    const int64_t blocks = (weight.cols + block_cols<FIELD> - 1) / block_cols<FIELD>;
    const GridsOfBlocks grids = grids_of<FIELD>(weight, row);
    if (!row.mask && weight.bits == FIELD) {
        const auto stored = [&](int64_t b) { return load_words(row.entries + b * sizeof(Words)); };
        return dot_codes<FIELD, TOKENS>(x, stride, blocks, grids, stored, out);
    }
    for_bits(weight.bits, [&](auto bits) {
        if constexpr (expanded_field(bits) == FIELD) {
            Expander<bits> expanded(weight, row, buffers);
            const auto next = [&](int64_t b) __attribute__((always_inline)) { return expanded.block(b); };
            dot_codes<FIELD, TOKENS>(x, stride, blocks, grids, next, out);
        }
    });
}

// Whether there is a way without decoding the row first.
static bool dots_straight(const PackedWeight& weight) {
    if (weight.bits == 0) return weight.masked();
    const int64_t size = weight.group_size, lane = 32 / field_of(weight), block = LANES * lane;
    return weight.groups <= 1 || size % block == 0 || (size % lane == 0 && block % size == 0);
}

// Floats of a token laid out.
static int64_t laid_out_size(const PackedWeight& weight) {
    int64_t size = (weight.cols + 63) / 64 * 64;
    for_field(weight.bits ? field_of(weight) : 0, [&](auto field) {
        size = (weight.cols + block_cols<field> - 1) / block_cols<field> * block_floats<field>;
    });
    return size;
}

// x [cols] to `to`, which holds zeros.
static void lay_out_token(const PackedWeight& weight, const float* x, float* to) {
    if (weight.bits == 0) return lay_out_for_values(weight, x, to);
    for_field(field_of(weight), [&](auto field) { lay_out<field>(x, weight.cols, to); });
}

// out [TOKENS] = the row . each token
template <int TOKENS> static void dot_row(const PackedWeight& weight, const Row& row, const float* x, int64_t stride,
                                          DotBuffers& buffers, float* out) {
    if (weight.bits)
        for_field(field_of(weight),
                  [&](auto field) { dot_code_row<field, TOKENS>(weight, row, x, stride, buffers, out); });
    else if (weight.values == Number::float32)
        dot_values<Number::float32, TOKENS>(row, weight.cols, x, stride, out);
    else if (weight.values == Number::bfloat16)
        dot_values<Number::bfloat16, TOKENS>(row, weight.cols, x, stride, out);
    else
        dot_values<Number::float16, TOKENS>(row, weight.cols, x, stride, out);
}

static void dot_row(const PackedWeight& weight, const Row& row, const float* x, int64_t stride, int tokens,
                    DotBuffers& buffers, float* out) {
    int t = 0;
    for (; t + 4 <= tokens; t += 4) dot_row<4>(weight, row, x + t * stride, stride, buffers, out + t);
    if (t + 2 <= tokens) dot_row<2>(weight, row, x + t * stride, stride, buffers, out + t), t += 2;
    if (t < tokens) dot_row<1>(weight, row, x + t * stride, stride, buffers, out + t);
}
