// Fuzzes what reads cocktail payloads: any bytes into add_payload_ and compress_mean_; see fuzz.h.
#include "fuzz.h"

#include "cocktail.h"

using torch::headeronly::ScalarType;

static constexpr ScalarType FLOATS[] = {ScalarType::Float, ScalarType::BFloat16, ScalarType::Half};

static CocktailLayout any_layout(Reader& reader) {
    CocktailLayout layout{};
    layout.block = 128 << reader.number(1) % 7;
    layout.numel = 1 + static_cast<int64_t>(reader.number(2) % (3 * layout.block));
    layout.seed = static_cast<int64_t>(reader.number(8) >> 1);
    layout.step = static_cast<int64_t>(reader.number(8) >> 1);
    layout.stream = static_cast<uint32_t>(reader.number(4));
    layout.sampled = 1 + static_cast<int64_t>(reader.number(1)) % layout.blocks();
    const auto share = static_cast<int>(reader.number(2));
    layout.kept = reader.number(1) % 8 ? 1 + share % layout.block : layout.block;
    layout.bits = static_cast<int>(1 + reader.number(1) % 9);
    if (layout.bits == 9) layout.bits = 32;
    layout.group = 1 + static_cast<int>(reader.number(2)) % layout.kept;
    layout.symmetric = reader.number(1) % 2;
    return layout;
}

static int bits_in(const uint8_t* mask, int bytes) {
    int bits = 0;
    for (int i = 0; i < bytes; ++i) bits += __builtin_popcount(mask[i]);
    return bits;
}

// Flips bits from some place on until there are as many as codes.
static void mend_mask(Reader& reader, const CocktailLayout& layout, uint8_t* mask) {
    int excess = bits_in(mask, layout.mask_bytes()) - layout.kept;
    for (auto i = static_cast<int>(reader.number(2)); layout.mask_bytes() && excess != 0; ++i) {
        const int place = i % layout.block;
        if (bit_of(mask, place) != (excess > 0)) continue;
        mask[place / 8] ^= 1 << place % 8;
        excess += excess > 0 ? -1 : 1;
    }
}

static uint8_t* body_of(const Tensor& payload, const CocktailLayout& layout, int64_t row, int64_t block) {
    return payload.octets() + row * layout.payload_bytes() + COCKTAIL_HEADER_BYTES + block * layout.block_bytes();
}

// Returns whether every mask has the right number of bits.
static bool fill_payloads(Reader& reader, const CocktailLayout& layout, const Tensor& payloads, int64_t rows) {
    reader.fill(payloads);
    const bool mend = reader.number(1) % 8 != 0;
    bool fit = true;
    for (int64_t row = 0; row < rows; ++row) {
        payloads.octets()[row * layout.payload_bytes() + COCKTAIL_FLAGS_AT] = reader.number(1) == 77;
        for (int64_t block = 0; block < layout.sampled; ++block) {
            uint8_t* mask = body_of(payloads, layout, row, block);
            if (mend) mend_mask(reader, layout, mask);
            fit = fit && (!layout.mask_bytes() || bits_in(mask, layout.mask_bytes()) == layout.kept);
        }
    }
    return fit;
}

// Whether `after` has the bytes of `before` wherever no mask has a bit.
static bool rest_stays(const CocktailLayout& layout, const Tensor& payload, const Tensor& before, const Tensor& after) {
    std::vector<bool> kept(static_cast<size_t>(layout.blocks() * layout.block));
    for (int64_t j = 0; j < layout.sampled; ++j)
        for (int i = 0; i < layout.block; ++i)
            kept[sampled_block(layout, j) * layout.block + i] =
                !layout.mask_bytes() || bit_of(body_of(payload, layout, 0, j), i);
    const size_t size = before.element_size();
    for (int64_t i = 0; i < layout.numel; ++i)
        if (!kept[i] && memcmp(before.octets() + i * size, after.octets() + i * size, size)) return false;
    return true;
}

static Tensor copy_of(const Tensor& tensor, size_t offset) {
    Tensor copy({tensor.numel()}, tensor.element_size(), offset);
    copy.type = tensor.type;
    memcpy(copy.octets(), tensor.octets(), tensor.nbytes());
    return copy;
}

static void try_add(Reader& reader, const CocktailLayout& l, const Tensor& numbers, size_t offset) {
    const Tensor payload({l.payload_bytes()}, 1, 4 * offset), out = copy_of(numbers, offset);
    const bool fit = fill_payloads(reader, l, payload, 1), none = payload.octets()[COCKTAIL_FLAGS_AT] & 1;
    try {
        add_payload_(payload, out, 0.5, l.seed, l.step, l.stream, l.block, l.sampled, l.kept, l.bits, l.group,
                     l.symmetric);
    } catch (const std::exception&) {
        expect(!fit && !none && same(out, numbers), "refused what fits, or changed something before");
        return;
    }
    expect(fit || none, "took a mask of another size");
    expect(none || rest_stays(l, payload, numbers, out), "changed what no mask has");
}

static void try_mean(Reader& reader, const CocktailLayout& l, const Tensor& numbers, size_t offset) {
    const auto workers = static_cast<int64_t>(1 + reader.number(1) % 6);
    const Tensor payloads({workers, l.payload_bytes()}, 1, offset);
    const bool fit = fill_payloads(reader, l, payloads, workers);
    std::optional<Tensor> residual;
    if (numbers.scalar_type() != ScalarType::Half) residual = copy_of(numbers, offset);
    Tensor sent({0}, 1);
    try {
        sent = compress_mean_(payloads, residual, l.numel, l.seed, l.step, l.stream, l.block, l.sampled, l.kept, l.bits,
                              l.group, l.symmetric);
    } catch (const std::exception&) {
        expect(!fit && (!residual || same(*residual, numbers)), "refused what fits, or changed something before");
        return;
    }
    const bool none = sent.octets()[COCKTAIL_FLAGS_AT] & 1;
    for (int64_t j = 0; j < l.sampled && l.mask_bytes() && !none; ++j)
        expect(bits_in(body_of(sent, l, 0, j), l.mask_bytes()) == l.kept, "wrote a mask of another size");
    const Tensor out = copy_of(numbers, offset);
    add_payload_(sent, out, 1.0, l.seed, l.step, l.stream, l.block, l.sampled, l.kept, l.bits, l.group, l.symmetric);
    payload_checksum(sent);
}

// Where the instruction set is not there, nothing.
static void run_on(Isa isa, const Input& input, int64_t& numel) {
    set_isa(isa);
    Reader reader(input);
    const auto kind = reader.number(1);
    const CocktailLayout layout = any_layout(reader);
    const ScalarType type = FLOATS[kind / 2 % 3];
    Tensor numbers({layout.numel}, type == ScalarType::Float ? 4 : 2);
    numbers.type = type;
    reader.fill(numbers);
    numel = layout.numel;
    (kind % 2 ? try_add : try_mean)(reader, layout, numbers, kind / 8 % 4);
}

static int64_t run(const Input& input) {
    int64_t numel = 0;
    run_on(Isa::baseline, input, numel);
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) run_on(Isa::avx2, input, numel);
    if (__builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
        run_on(Isa::avx512, input, numel);
#endif
    return numel;
}
