// A part of one row from the values that a bitmask keeps to dense ones. Nothing outside of the ranges given is read or
// written: where eight values would not fit, one at a time. Included once per instruction set, inside a namespace of
// its own that has expand8 (see octets.h); no include guard on purpose.

// The kept go where their bit is set, the rest of `count` values is 0; returns the first value that is still to place.
template <class Value>
static const Value* expand_row(const Value* kept, const Value* end, const uint8_t* bits, int64_t count, Value* to) {
    int64_t i = 0;
    const auto next8 = [&](uint8_t eight) {
        expand8(to + i, kept, eight);
        kept += __builtin_popcount(eight);
        i += 8;
    };
    while (i + 32 <= count && end - kept >= 32) {
        uint32_t word;
        memcpy(&word, bits + i / 8, 4);
        for (int shift = 0; shift < 32; shift += 8) next8(word >> shift);
    }
    while (i + 8 <= count && end - kept >= 8) next8(bits[i / 8]);
    for (; i < count; ++i) to[i] = bits[i / 8] >> i % 8 & 1 ? *kept++ : Value(0);
    return kept;
}
