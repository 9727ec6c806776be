// All rows of a packed weight. Included once per instruction set, after packed_decode-inl.h and the ways past decoding
// (packed_dot-inl.h or their stand-ins); no include guard on purpose.

// Every token as floats, laid out as the rows want it; returns the floats of a token.
static int64_t lay_out_tokens(const Product& product, bool straight, std::vector<float>& laid_out) {
    const PackedWeight& weight = product.weight;
    const int64_t stride = straight ? laid_out_size(weight) : weight.cols;
    laid_out.resize(product.tokens * stride);
    std::vector<float> token(weight.cols);
    for (int64_t t = 0; t < product.tokens; ++t) {
        float* to = laid_out.data() + t * stride;
        to_floats(product.x, product.number, t * weight.cols, weight.cols, straight ? token.data() : to);
        if (straight) lay_out_token(weight, token.data(), to);
    }
    return stride;
}

// At most FEW_TOKENS of them.
static void few_tokens(const Product& product) {
    const PackedWeight& weight = product.weight;
    const bool straight = dots_straight(weight);
    std::vector<float> x;
    const int64_t stride = lay_out_tokens(product, straight, x);
    for_rows(weight, 0, weight.rows, [&](int64_t first, int64_t last) {
        RowReader reader(weight);
        DotBuffers buffers;
        std::vector<uint8_t> bytes(straight ? 0 : 4 * weight.cols + SLACK);
        std::vector<float> dense(straight ? 0 : weight.cols);
        float sums[FEW_TOKENS];
        for (int64_t r = first; r < last; ++r) {
            const Row row = reader.open(r);
            if (row.kept == 0) { // exactly, where codes of 0 would nearly cancel
                std::fill_n(sums, product.tokens, 0.0f);
            } else if (straight) {
                dot_row(weight, row, x.data(), stride, static_cast<int>(product.tokens), buffers, sums);
            } else {
                decode_row(weight, row, bytes.data(), dense.data());
                for (int64_t t = 0; t < product.tokens; ++t) sums[t] = dot(dense.data(), &x[t * stride], weight.cols);
            }
            for (int64_t t = 0; t < product.tokens; ++t) product.put(t, r, sums[t]);
        }
    });
}

// Rows begin .. end - 1 as float, or as bfloat16 where `halves`.
[[maybe_unused]] static void decode_rows(const PackedWeight& weight, int64_t begin, int64_t end, bool halves,
                                         void* to) {
    for_rows(weight, begin, end, [&](int64_t first, int64_t last) {
        RowReader reader(weight);
        std::vector<uint8_t> bytes(4 * weight.cols + SLACK);
        std::vector<float> floats(halves ? weight.cols : 0);
        for (int64_t r = first; r < last; ++r) {
            const Row row = reader.open(r);
            const int64_t at = (r - begin) * weight.cols;
            if (halves)
                decode_row(weight, row, bytes.data(), floats.data(), static_cast<uint16_t*>(to) + at);
            else
                decode_row(weight, row, bytes.data(), static_cast<float*>(to) + at);
        }
    });
}
