// One row of a packed weight as floats in the order of its columns. Included once per instruction set, inside a
// namespace of its own that has expand_codes (see packed_isa.h) and expand_row (expand-inl.h); no include guard on
// purpose.

// The code of every column; `to` has room for SLACK more.
template <int BITS> static void codes_of(const Row& row, int64_t cols, uint8_t* to) {
    if (row.mask)
        expand_codes<BITS>(row, cols, to);
    else
        unpack_part<BITS>(row.entries, packed_bytes(cols, BITS), to, cols);
}

static void scale_codes(const PackedWeight& weight, const Row& row, const uint8_t* codes, float* to) {
    for (int64_t g = 0, col = 0; g < weight.groups; ++g) {
        const int64_t end = std::min(weight.cols, col + weight.group_size);
        const float scale = row.scale[g], zero = row.zero[g];
        for (; col < end; ++col) to[col] = (static_cast<float>(codes[col]) - zero) * scale;
    }
}

// The values in their own dtype; a column without one is 0.
template <class Value> static void values_of(const Row& row, int64_t cols, Value* to) {
    const auto* kept = reinterpret_cast<const Value*>(row.entries);
    if (row.mask)
        expand_row(kept, kept + row.kept, row.mask, cols, to);
    else
        memcpy(to, kept, cols * sizeof *to);
}

// to [cols], buffer [4 * cols + SLACK]
static void decode_row(const PackedWeight& weight, const Row& row, uint8_t* buffer, float* to) {
    if (weight.bits) {
        for_bits(weight.bits, [&](auto bits) { codes_of<bits>(row, weight.cols, buffer); });
        scale_codes(weight, row, buffer, to);
    } else if (weight.values == Number::float32) {
        values_of(row, weight.cols, reinterpret_cast<uint32_t*>(to));
    } else {
        values_of(row, weight.cols, reinterpret_cast<uint16_t*>(buffer));
        to_floats(buffer, weight.values, 0, weight.cols, to);
    }
}

// The same, rounded to bfloat16 once.
static void decode_row(const PackedWeight& weight, const Row& row, uint8_t* buffer, float* floats, uint16_t* to) {
    if (!weight.bits && weight.values == Number::bfloat16) return values_of(row, weight.cols, to);
    decode_row(weight, row, buffer, floats);
    for (int64_t i = 0, cols = weight.cols; i < cols; ++i) to[i] = to_bfloat16(floats[i]);
}

// a . b, in eight sums that do not wait for each other.
static float dot(const float* a, const float* b, int64_t count) {
    float sums[8] = {};
    int64_t i = 0;
    for (; i + 8 <= count; i += 8)
        for (int k = 0; k < 8; ++k) sums[k] += a[i + k] * b[i + k];
    for (; i < count; ++i) sums[0] += a[i] * b[i];
    return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}
