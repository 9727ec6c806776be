// Fuzzes the native decoders of packed codes and bitmasks, beside a decoder that goes bit by bit and packing again; see
// fuzz.h.
#include "fuzz.h"

static bool fits(int64_t rows, int64_t bytes) { return bytes == 0 || rows <= (1 << 22) / bytes; }

static void try_codes(Reader& reader, int64_t rows, int64_t cols, int width_error, size_t offset) {
    const int64_t bits = reader.number(1) % 10; // some are none
    const int64_t bytes = std::max<int64_t>(0, (cols * bits + 31) / 32 * 4 + width_error);
    if (!fits(rows, bytes)) return;
    Tensor packed({rows, bytes}, 1, offset);
    reader.fill(packed);
    const Tensor codes = unpack_codes(packed, bits, cols); // throws what it should not take
    expect(bytes == (cols * bits + 31) / 32 * 4 && (bits == 2 || bits == 3 || bits == 4 || bits == 8),
           "took a wrong width");
    for (int64_t r = 0; r < rows && cols; ++r)
        for (int64_t c = 0; c < cols; ++c) {
            uint8_t code = 0;
            for (int64_t b = 0; b < bits; ++b) code |= bit_of(packed.octets() + r * bytes, c * bits + b) << b;
            expect(codes.octets()[r * cols + c] == code, "a code is wrong");
        }
    const Tensor again = pack_codes(codes, bits);
    expect(same(unpack_codes(again, bits, cols), codes), "packing the codes again changes them");
    for (int64_t r = 0; r < rows && cols; ++r)
        for (int64_t b = cols * bits; b < 8 * bytes; ++b)
            expect(!bit_of(again.octets() + r * bytes, b), "a bit after the last code is set");
}

static void try_bitmask(Reader& reader, int64_t rows, int64_t cols, int width_error, size_t offset) {
    const size_t size = reader.number(1) % 5 ? size_t(1) << reader.number(1) % 3 : reader.number(1) % 10;
    const int64_t stride = (cols + 7) / 8, bytes = std::max<int64_t>(0, stride + width_error);
    const bool strays = reader.number(1) % 8 == 0;
    const int64_t missing = reader.number(1) % 8 == 0 ? static_cast<int8_t>(reader.number(1)) : 0;
    const uint8_t density = static_cast<uint8_t>(reader.number(1));
    if (!fits(rows, bytes)) return;
    Tensor bitmask({rows, bytes}, 1, offset);
    reader.fill(bitmask);
    int64_t count = 0, stray = 0;
    for (int64_t r = 0; r < rows && bytes; ++r)
        for (int64_t b = 0; b < bytes; ++b) {
            uint8_t& octet = bitmask.octets()[r * bytes + b];
            octet = density < 85 ? octet & octet << 1 & reader.octet() : density < 170 ? octet : octet | reader.octet();
            if (!strays && b == stride - 1 && cols % 8) octet &= (1 << cols % 8) - 1;
            if (b == stride - 1 && cols % 8) stray |= octet >> cols % 8;
            count += __builtin_popcount(octet);
        }
    Tensor kept({std::max<int64_t>(0, count + missing)}, std::max<size_t>(size, 1), offset);
    reader.fill(kept);
    const Tensor dense = unpack_bitmask(bitmask, kept, cols);
    expect(!stray && bytes == stride && kept.size(0) == count, "took a bitmask that does not fit");
    const size_t item = kept.element_size();
    expect(item == 1 || item == 2 || item == 4, "took values of another size");
    const std::vector<uint8_t> nothing(item);
    Tensor mask({rows, cols}, 1, offset);
    mask.truth = true;
    for (int64_t r = 0, next = 0; r < rows && cols; ++r)
        for (int64_t c = 0; c < cols; ++c) {
            const bool set = bit_of(bitmask.octets() + r * bytes, c);
            const uint8_t* value = set ? kept.octets() + next++ * item : nothing.data();
            expect(memcmp(dense.octets() + (r * cols + c) * item, value, item) == 0, "a value is wrong");
            mask.octets()[r * cols + c] = set;
        }
    const auto [again, values] = pack_bitmask(dense, mask, count);
    expect(same(again, bitmask) && same(values, kept), "packing the values again changes them");
}

static int64_t run(const Input& input) {
    int64_t weights = 0;
    for (Isa isa : {Isa::baseline, Isa::avx2}) {
#if defined(__x86_64__)
        if (isa == Isa::avx2 && !__builtin_cpu_supports("avx2")) continue;
#else
        if (isa == Isa::avx2) continue;
#endif
        set_isa(isa);
        Reader reader(input);
        const uint64_t kind = reader.number(1), shape = reader.number(1) % 32;
        int64_t rows = reader.number(1) % 20, cols = reader.number(2) % 300;
        if (shape == 1) rows %= 3, cols += reader.number(3) % (1 << 18); // more than one piece a row
        if (shape == 2) rows = reader.number(2), cols %= 5;              // more than one piece of many rows
        if (shape == 3) rows = 0, cols = static_cast<int64_t>(reader.number(5));
        if (shape == 4) rows = static_cast<int64_t>(reader.number(5)), cols = 0;
        const int width_error = kind % 16 == 0 ? static_cast<int8_t>(reader.number(1)) : 0;
        const size_t offset = kind >> 5;
        weights = rows * cols;
        try {
            kind & 16 ? try_codes(reader, rows, cols, width_error, offset)
                      : try_bitmask(reader, rows, cols, width_error, offset);
        } catch (const std::exception&) { // refused
        }
    }
    return weights;
}
