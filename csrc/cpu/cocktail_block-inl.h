// One block of a payload: values to bytes, and bytes to values.
// Included once per instruction set, after cocktail_select-inl.h (see cocktail.cpp); no include guard on purpose.

// What the kept elements of a block decode to, and which ones they are; without a mask it is all of them.
struct Decoded {
    alignas(64) float values[COCKTAIL_LARGEST_BLOCK + SLACK_FLOATS];
    alignas(64) uint64_t mask[COCKTAIL_LARGEST_BLOCK / 64];
};

inline constexpr int AT_ONCE = 4; // payloads

// Of one thread. Vectors reach up to SLACK_FLOATS beyond the last value.
struct Workspace {
    alignas(64) float values[COCKTAIL_LARGEST_BLOCK + SLACK_FLOATS]; // of the block
    alignas(64) float kept[COCKTAIL_LARGEST_BLOCK + SLACK_FLOATS];   // of these the kept ones
    alignas(64) float other[COCKTAIL_LARGEST_BLOCK];                 // what is added to the values
    alignas(64) uint8_t codes[COCKTAIL_LARGEST_BLOCK + SLACK_FLOATS];
    Decoded decoded, others[AT_ONCE - 1]; // of this worker, or of several
    Ahead ahead{};
};

// The scales of one group.
struct Scales {
    uint16_t first, second;
};

static Scales scales_of(Coding coding, const float* kept, int count) {
    int32_t highest = 0, lowest = 0x7fffffff;
    for (int i = 0; i < count; ++i) {
        highest = std::max(highest, key_of(kept[i]));
        lowest = std::min(lowest, key_of(kept[i]));
    }
    const auto high = static_cast<uint32_t>(highest), low = static_cast<uint32_t>(lowest);
    if (coding == Coding::symmetric) return {scale_above(high), 0};
    if (coding == Coding::magnitude) return {scale_below(low, high), scale_above(high)};
    const float factor = mean_factor(high);
    uint32_t units = 0;
    for (int i = 0; i < count; ++i) units += mean_units(float_of(magnitude_bits(kept[i])), factor);
    return {scale_of_units(units, count, high), 0};
}

template <Coding CODING>
static void encode_group(const CocktailGrid grid, const float* kept, int count, uint8_t* codes) {
    for (int i = 0; i < count; ++i) codes[i] = static_cast<uint8_t>(encode_value<CODING>(grid, kept[i]));
}

template <Coding CODING> static void decode_group(const CocktailGrid grid, const uint8_t* codes, int count, float* to) {
    for (int i = 0; i < count; ++i) to[i] = decode_value<CODING>(grid, codes[i]);
}

// body(first element, number of elements, first scale) of every group.
template <class Body> static void for_groups(const CocktailLayout& layout, const Body& body) {
    int scale = 0;
    for (int first = 0; first < layout.kept; first += layout.group, scale += layout.scales())
        body(first, std::min(layout.group, layout.kept - first), scale);
}

// Scales and codes of the kept values, and what they decode to.
template <Coding CODING> static void quantize_kept(const CocktailLayout& layout, Workspace& work, uint8_t* stored) {
    memset(stored, 0, layout.scale_bytes());
    for_groups(layout, [&](int first, int count, int scale) {
        const Scales scales = scales_of(CODING, work.kept + first, count);
        const CocktailGrid grid = cocktail_grid(CODING, layout.bits, scales.first, scales.second);
        memcpy(stored + 2 * scale, &scales, 2 * layout.scales());
        encode_group<CODING>(grid, work.kept + first, count, work.codes + first);
        decode_group<CODING>(grid, work.codes + first, count, work.decoded.values + first);
    });
}

template <Coding CODING>
static void dequantize_kept(const CocktailLayout& layout, const uint8_t* stored, const uint8_t* codes, float* to) {
    for_groups(layout, [&](int first, int count, int scale) {
        Scales scales{};
        memcpy(&scales, stored + 2 * scale, 2 * layout.scales());
        const CocktailGrid grid = cocktail_grid(CODING, layout.bits, scales.first, scales.second);
        decode_group<CODING>(grid, codes + first, count, to + first);
    });
}

// Run body with the coding as a constant.
template <class Body> static void for_coding(const CocktailLayout& layout, const Body& body) {
    const Coding coding = coding_of(layout);
    if (coding == Coding::sign) body(std::integral_constant<Coding, Coding::sign>());
    if (coding == Coding::symmetric) body(std::integral_constant<Coding, Coding::symmetric>());
    if (coding == Coding::magnitude) body(std::integral_constant<Coding, Coding::magnitude>());
}

// And with the width of a code, 1 to 8.
template <int BITS = 1, class Body> static void for_width(int bits, const Body& body) {
    if (bits == BITS) return body(std::integral_constant<int, BITS>());
    if constexpr (BITS < 8) for_width<BITS + 1>(bits, body);
}

// body(first, number, sent) of 64 elements each, as many as there are: what was decoded in its places, 0 elsewhere.
template <class Body> static void for_sent(const CocktailLayout& layout, Workspace& work, int count, const Body& body) {
    alignas(64) float sent[64];
    const float* from = work.decoded.values;
    for (int i = 0; i < count; i += 64) {
        if (layout.mask_bytes())
            from = expand64(sent, from, work.decoded.mask[i / 64]);
        else
            memcpy(sent, from + i, sizeof sent);
        if (count - i >= 64)
            body(i, std::integral_constant<int, 64>(), sent);
        else
            body(i, count - i, sent);
        work.ahead.some();
    }
}

// The bytes of work.values, and what they decode to in work.decoded.
static void encode_block(const CocktailLayout& layout, Workspace& work, uint8_t* body) {
    if (layout.mask_bytes()) {
        const uint64_t* mask = work.decoded.mask;
        select_largest(work.values, layout.block, layout.kept, work.decoded.values, work.decoded.mask, work.ahead);
        memcpy(body, mask, layout.mask_bytes());
        float* to = work.kept;
        for (int i = 0; i < layout.block; i += 64) to = compact64(to, work.values + i, mask[i / 64]);
    } else {
        memcpy(work.kept, work.values, layout.block * sizeof *work.kept);
    }
    uint8_t *codes = body + layout.mask_bytes(), *scales = codes + layout.code_bytes();
    if (layout.bits == 32) {
        memcpy(codes, work.kept, layout.code_bytes());
        memcpy(work.decoded.values, work.kept, layout.code_bytes());
        return;
    }
    for_coding(layout, [&](auto coding) { quantize_kept<coding>(layout, work, scales); });
    for_width(layout.bits, [&](auto bits) { pack_part<bits>(work.codes, layout.kept, codes, layout.code_bytes()); });
}

// Whether the mask has one bit for every code.
static bool mask_fits(const CocktailLayout& layout, const uint8_t* body) {
    int bits = 0;
    for (int i = 0; i < layout.mask_bytes(); i += 8) {
        uint64_t word;
        memcpy(&word, body + i, 8);
        bits += __builtin_popcountll(word);
    }
    return !layout.mask_bytes() || bits == layout.kept;
}

// The bytes of a block whose mask fits.
static void decode_block(const CocktailLayout& layout, const uint8_t* body, Workspace& work, Decoded& to) {
    memcpy(to.mask, body, layout.mask_bytes());
    const uint8_t *codes = body + layout.mask_bytes(), *scales = codes + layout.code_bytes();
    if (layout.bits == 32) {
        memcpy(to.values, codes, layout.code_bytes());
        return;
    }
    for_width(layout.bits, [&](auto bits) { unpack_part<bits>(codes, layout.code_bytes(), work.codes, layout.kept); });
    for_coding(layout, [&](auto coding) { dequantize_kept<coding>(layout, scales, work.codes, to.values); });
}
