// Codes of a part of one row and their packed form: eight codes at a time in the bytes of a word. Nothing outside of
// the ranges given is read or written.
#pragma once
#include <bit>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "checks.h"
#include "packed.h"

static_assert(std::endian::native == std::endian::little, "byte 0 of a word must be its lowest");

// The lowest `width` bits of every `unit` bits.
constexpr uint64_t fields(int width, int unit) {
    uint64_t mask = 0;
    for (int at = 0; at < 64; at += unit) mask |= ~0ull >> (64 - width) << at;
    return mask;
}

// Fields of WIDTH bits, one in every UNIT, move together to pairs in every two UNITs. Of fields as wide as their gap or
// narrower nothing is left where the mask takes it after the shift; wider ones must be told apart before.
template <int WIDTH, int UNIT> uint64_t closer(uint64_t x) {
    constexpr int gap = UNIT - WIDTH;
    if constexpr (WIDTH <= gap || gap == 0) return (x | x >> gap) & fields(2 * WIDTH, 2 * UNIT);
    constexpr uint64_t first = fields(WIDTH, 2 * UNIT);
    return (x & first) | (x & first << UNIT) >> gap;
}

// The way back.
template <int WIDTH, int UNIT> uint64_t apart(uint64_t x) {
    constexpr int gap = UNIT - WIDTH;
    if constexpr (WIDTH <= gap || gap == 0) return (x | x << gap) & fields(WIDTH, UNIT);
    constexpr uint64_t first = fields(WIDTH, 2 * UNIT);
    return (x & first) | (x & first << WIDTH) << gap;
}

// Eight codes in the bytes of a word move together to 8 * BITS bits: neighbours to pairs, pairs to fours, fours to all.
template <int BITS> uint64_t fold(uint64_t codes) {
    const uint64_t pairs = closer<BITS, 8>(codes & fields(BITS, 8));
    return closer<4 * BITS, 32>(closer<2 * BITS, 16>(pairs));
}

template <int BITS> uint64_t unfold(uint64_t packed) {
    const uint64_t fours = apart<4 * BITS, 32>(packed & fields(8 * BITS, 64));
    return apart<BITS, 8>(apart<2 * BITS, 16>(fours));
}

// A block of 64 codes fills BITS whole words. Narrow stores would be as fast in the cache, but while one waits for its
// line from memory too many of them would wait behind it.
inline constexpr int64_t CODES_BLOCK = 64;

// Codes of 3, 5, 6 and 7 bits: eight of them may lie across two words.
template <int BITS> inline constexpr bool straddles = 64 % (8 * BITS) != 0;

template <int BITS> void pack_block(const uint8_t* codes, uint8_t* packed) {
    uint64_t word = 0;
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
        uint64_t eight;
        memcpy(&eight, codes + 8 * i, 8);
        eight = fold<BITS>(eight);
        const int shift = BITS * i % 8 * 8;
        word |= eight << shift;
        if (shift + 8 * BITS < 64) continue;
        memcpy(packed + BITS * i / 8 * 8, &word, 8);
        word = 0;
        if constexpr (straddles<BITS>)
            if (shift + 8 * BITS > 64) word = eight >> (64 - shift);
    }
}

template <int BITS> void unpack_block(const uint8_t* packed, uint8_t* codes) {
    uint64_t words[BITS];
    memcpy(words, packed, sizeof words);
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
        const int place = BITS * i / 8, shift = BITS * i % 8 * 8;
        uint64_t eight = words[place] >> shift;
        if constexpr (straddles<BITS>)
            if (shift + 8 * BITS > 64) eight |= words[place + 1] << (64 - shift);
        eight = unfold<BITS>(eight);
        memcpy(codes + 8 * i, &eight, 8);
    }
}

// The codes of a part of a row; it takes `bytes` packed, those after the last code become zero.
template <int BITS> void pack_part(const uint8_t* codes, int64_t count, uint8_t* packed, int64_t bytes) {
    int64_t i = 0, at = 0;
    for (; i + CODES_BLOCK <= count; i += CODES_BLOCK, at += 8 * BITS) pack_block<BITS>(codes + i, packed + at);
    if (i == count) return;
    uint8_t last[CODES_BLOCK] = {}, last_packed[8 * BITS];
    memcpy(last, codes + i, count - i);
    pack_block<BITS>(last, last_packed);
    memcpy(packed + at, last_packed, bytes - at);
}

template <int BITS> void unpack_part(const uint8_t* packed, int64_t bytes, uint8_t* codes, int64_t count) {
    int64_t i = 0, at = 0;
    for (; i + CODES_BLOCK <= count; i += CODES_BLOCK, at += 8 * BITS) unpack_block<BITS>(packed + at, codes + i);
    if (i == count) return;
    uint8_t last[CODES_BLOCK], last_packed[8 * BITS] = {};
    memcpy(last_packed, packed + at, bytes - at);
    unpack_block<BITS>(last_packed, last);
    memcpy(codes + i, last, count - i);
}

// Run body with the width as a constant.
template <class Body> void for_bits(int64_t bits, const Body& body) {
    check_bits(bits);
    if (bits == 2) body(std::integral_constant<int, 2>());
    if (bits == 3) body(std::integral_constant<int, 3>());
    if (bits == 4) body(std::integral_constant<int, 4>());
    if (bits == 8) body(std::integral_constant<int, 8>());
}
