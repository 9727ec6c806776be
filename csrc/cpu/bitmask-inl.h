// A part of one row between a mask and bits, and from dense values to those that a bitmask keeps. Nothing outside of
// the ranges given is read or written: where eight values would not fit, one at a time. Included once per instruction
// set, inside a namespace of its own that has bits_of32 and compact8 (see bitmask.cpp); no include guard on purpose.

static int64_t count_bits(const uint8_t* bits, int64_t bytes) {
    int64_t count = 0, i = 0;
    for (uint64_t word; i + 8 <= bytes; i += 8) {
        memcpy(&word, bits + i, 8);
        count += __builtin_popcountll(word);
    }
    for (; i < bytes; ++i) count += __builtin_popcount(bits[i]);
    return count;
}

// One bit for each of `count` bytes that are 0 or 1, zero bits up to a whole byte; returns how many are 1.
static int64_t pack_bits(const uint8_t* mask, uint8_t* bits, int64_t count) {
    int64_t set = 0, i = 0;
    for (; i + 32 <= count; i += 32) {
        const uint32_t word = bits_of32(mask + i);
        memcpy(bits + i / 8, &word, 4);
        set += __builtin_popcount(word);
    }
    for (; i < count; i += 8) {
        bits[i / 8] = bits_of8(mask + i, count - i < 8 ? count - i : 8);
        set += __builtin_popcount(bits[i / 8]);
    }
    return set;
}

// The kept of `count` values go to `to`, up to `end`; returns where the next ones belong.
template <class Value>
static Value* compact_row(const Value* values, const uint8_t* bits, int64_t count, Value* to, Value* end) {
    int64_t i = 0;
    const auto next8 = [&](uint8_t eight) {
        compact8(to, values + i, eight);
        to += __builtin_popcount(eight);
        i += 8;
    };
    while (i + 32 <= count && end - to >= 32) {
        uint32_t word;
        memcpy(&word, bits + i / 8, 4);
        for (int shift = 0; shift < 32; shift += 8) next8(word >> shift);
    }
    while (i + 8 <= count && end - to >= 8) next8(bits[i / 8]);
    for (; i < count; ++i)
        if (bits[i / 8] >> i % 8 & 1) *to++ = values[i];
    return to;
}
