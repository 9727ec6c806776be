// One block of a payload: values to bytes, and bytes to values.
// Included once per instruction set, after cocktail_select-inl.h (see cocktail.cpp); no include guard on purpose.

// Of one thread. Vectors reach up to SLACK_FLOATS beyond the last value.
struct Workspace {
    alignas(64) float values[COCKTAIL_LARGEST_BLOCK + SLACK_FLOATS];  // of the block
    alignas(64) float kept[COCKTAIL_LARGEST_BLOCK + SLACK_FLOATS];    // of these the kept ones
    alignas(64) float decoded[COCKTAIL_LARGEST_BLOCK + SLACK_FLOATS]; // what they decode to
    alignas(64) float sent[COCKTAIL_LARGEST_BLOCK + SLACK_FLOATS];    // the same in their places, 0 elsewhere
    alignas(64) uint8_t codes[COCKTAIL_LARGEST_BLOCK + SLACK_FLOATS];
    alignas(64) uint64_t mask[COCKTAIL_LARGEST_BLOCK / 64];
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
        decode_group<CODING>(grid, work.codes + first, count, work.decoded + first);
    });
}

template <Coding CODING>
static void dequantize_kept(const CocktailLayout& layout, const uint8_t* stored, Workspace& work) {
    for_groups(layout, [&](int first, int count, int scale) {
        Scales scales{};
        memcpy(&scales, stored + 2 * scale, 2 * layout.scales());
        const CocktailGrid grid = cocktail_grid(CODING, layout.bits, scales.first, scales.second);
        decode_group<CODING>(grid, work.codes + first, count, work.decoded + first);
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

// What was decoded goes to its places.
static void place_decoded(const CocktailLayout& layout, Workspace& work) {
    if (!layout.mask_bytes()) {
        memcpy(work.sent, work.decoded, layout.block * sizeof *work.sent);
        return;
    }
    const float* from = work.decoded;
    for (int i = 0; i < layout.block; i += 64) from = expand64(work.sent + i, from, work.mask[i / 64]);
}

// The bytes of work.values; what they decode to is work.decoded.
static void encode_block(const CocktailLayout& layout, Workspace& work, uint8_t* body) {
    if (layout.mask_bytes()) {
        select_largest(work.values, layout.block, layout.kept, work.decoded, work.mask);
        memcpy(body, work.mask, layout.mask_bytes());
        float* to = work.kept;
        for (int i = 0; i < layout.block; i += 64) to = compact64(to, work.values + i, work.mask[i / 64]);
    } else {
        memcpy(work.kept, work.values, layout.block * sizeof *work.kept);
    }
    uint8_t *codes = body + layout.mask_bytes(), *scales = codes + layout.code_bytes();
    if (layout.bits == 32) {
        memcpy(codes, work.kept, layout.code_bytes());
        memcpy(work.decoded, work.kept, layout.code_bytes());
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

// The bytes of a block whose mask fits become work.mask and work.decoded.
static void decode_block(const CocktailLayout& layout, const uint8_t* body, Workspace& work) {
    memcpy(work.mask, body, layout.mask_bytes());
    const uint8_t *codes = body + layout.mask_bytes(), *scales = codes + layout.code_bytes();
    if (layout.bits == 32) {
        memcpy(work.decoded, codes, layout.code_bytes());
        return;
    }
    for_width(layout.bits, [&](auto bits) { unpack_part<bits>(codes, layout.code_bytes(), work.codes, layout.kept); });
    for_coding(layout, [&](auto coding) { dequantize_kept<coding>(layout, scales, work); });
}
