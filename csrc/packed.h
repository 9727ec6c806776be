// A packed weight as the kernels read it, on the CPU and on CUDA; docs/format.md says what its parts hold.
#pragma once
#include "common.h"

enum class Number { float32, bfloat16, float16 };

HOST_DEVICE constexpr int64_t size_of(Number number) { return number == Number::float32 ? 4 : 2; }

// The width of a place inside a group of N:M: the smallest of a code that holds them all.
HOST_DEVICE constexpr int index_bits(int group) { return group <= 4 ? 2 : group <= 8 ? 3 : group <= 16 ? 4 : 8; }

// Of a stream of codes.
HOST_DEVICE constexpr int64_t packed_bytes(int64_t codes, int64_t bits) { return (codes * bits + 31) / 32 * 4; }

// Either bitmask and starts say where the entries of a row belong, or indices do, or every weight has an entry.
struct PackedWeight {
    int64_t rows, cols;
    const uint8_t* bitmask; // [rows, ceil(cols / 8)] or null
    const int64_t* starts;  // [rows] the place of a row's first entry among all, where there is a bitmask
    const uint8_t* indices; // [rows, index_bytes] or null
    int64_t index_bytes;
    int keep, group; // of every `group` neighbours `keep` have an entry, where there are indices

    const uint8_t* entries; // values, or streams of codes
    int64_t entries_bytes;  // of all of them
    int64_t row_bytes;      // of a row's, where there is no bitmask
    Number values;          // what the values are, where they are no codes
    int bits;               // of a code; 0: the entries are values

    const void* scale; // [rows, groups]
    Number scales;
    const uint8_t* zero; // [rows, zero_bytes] streams of codes; null: all are 2^(bits - 1)
    int64_t zero_bytes;
    int64_t groups, group_size;

    HOST_DEVICE int64_t mask_bytes() const { return (cols + 7) / 8; }
    HOST_DEVICE bool masked() const { return bitmask || indices; }
    HOST_DEVICE int64_t entry_bits() const { return bits ? bits : 8 * size_of(values); }
    HOST_DEVICE int64_t kept_of_row() const { return indices ? cols / group * keep : cols; } // without a bitmask
};
