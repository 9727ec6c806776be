// What the kernels of packed_linear do differently on each instruction set: how kept codes and values move to the
// columns where they belong, and a vector of floats.
#pragma once
#include <algorithm>
#include <array>
#include <bit>
#include <vector>

#include "codes.h"
#include "numbers.h"
#include "octets.h"

// Kernels read whole vectors: this many bytes after the last that they need may be read as well.
inline constexpr int64_t SLACK = 128;

struct Row {
    const uint8_t* mask;    // a bit a column, or null where every column has an entry
    const uint8_t* entries; // the row's first entry begins `bit` bits after this
    int64_t bit, kept;
    const float *scale, *zero; // of every group
    const uint8_t* fill;       // the code of 0 of column i is fill[i * fill_step]; SLACK more may be read
    int64_t fill_step;         // 1, or 0 where it is the same everywhere
};

// Bits that are fewer than 64, apart from the loop that has no need of them.
[[gnu::noinline]] inline uint64_t last_bits(const uint8_t* mask, int64_t cols) {
    uint64_t word = 0;
    memcpy(&word, mask, static_cast<size_t>(cols + 7) / 8);
    return word;
}

// The bits of the 64 columns from `col` on; those after the last are 0.
inline uint64_t mask_of_64(const Row& row, int64_t col, int64_t cols) {
    if (!row.mask) return ~0ull;
    if (col + 64 > cols) [[unlikely]]
        return last_bits(row.mask + (col >> 3), cols - col);
    uint64_t word;
    memcpy(&word, row.mask + (col >> 3), 8);
    return word;
}

namespace baseline {
// The mask of 2:4 places: a byte of one is a byte of the other, four bits at a time. Where places do not ascend there
// are too few bits.
inline constexpr std::array<uint8_t, 16> MASKS_2_OF_4 = [] {
    std::array<uint8_t, 16> masks{};
    for (int places = 0; places < 16; ++places)
        if ((places & 3) < places >> 2) masks[places] = static_cast<uint8_t>(1 << (places & 3) | 1 << (places >> 2));
    return masks;
}();

static void mark_2_of_4(const uint8_t* places, int64_t bytes, uint8_t* mask) {
    for (int64_t i = 0; i < bytes; ++i)
        mask[i] = static_cast<uint8_t>(MASKS_2_OF_4[places[i] & 15] | MASKS_2_OF_4[places[i] >> 4] << 4);
}

template <int BITS> static void expand_codes(const Row& row, int64_t cols, uint8_t* to) {
    int64_t bit = row.bit;
    for (int64_t col = 0; col < cols; ++col) {
        if (!(row.mask[col / 8] >> col % 8 & 1)) {
            to[col] = row.fill[col * row.fill_step];
            continue;
        }
        uint16_t word;
        memcpy(&word, row.entries + bit / 8, 2);
        to[col] = word >> bit % 8 & ((1 << BITS) - 1);
        bit += BITS;
    }
}
} // namespace baseline

#if defined(__x86_64__)
#include "packed_avx2.h"
#include "packed_avx512.h"
#include "packed_avx512bf16.h"
#endif
