// pack_codes and unpack_codes on CUDA: 32 codes are `bits` words, one thread's work. Free of torch.
#pragma once
#include "rows.cuh"

namespace gpu {
constexpr int RUN = 32;            // codes of one thread: whatever the width, they end with a word
constexpr int RUN_WORDS = RUN / 4; // of the codes unpacked

template <int COUNT> struct Words {
    uint32_t word[COUNT] = {};
};

// COUNT words as vectors of PART words, where the place allows it and all of them are there.
template <int PART, int COUNT>
__device__ __forceinline__ bool load_vectors(Words<COUNT>& words, const uint8_t* from, int64_t bytes) {
    if constexpr (COUNT % PART == 0) {
        using Wide = Vector<uint32_t, PART>;
        if (bytes < 4 * COUNT || !aligned_for<Wide>(from)) return false;
#pragma unroll
        for (int w = 0; w < COUNT; w += PART) {
            const Wide wide = load_wide<Wide>(from + 4 * w);
#pragma unroll
            for (int p = 0; p < PART; ++p) words.word[w + p] = wide.part[p];
        }
        return true;
    }
    return false;
}

template <int PART, int COUNT>
__device__ __forceinline__ bool store_vectors(const Words<COUNT>& words, uint8_t* to, int64_t bytes) {
    if constexpr (COUNT % PART == 0) {
        using Wide = Vector<uint32_t, PART>;
        if (bytes < 4 * COUNT || !aligned_for<Wide>(to)) return false;
#pragma unroll
        for (int w = 0; w < COUNT; w += PART) {
            Wide wide;
#pragma unroll
            for (int p = 0; p < PART; ++p) wide.part[p] = words.word[w + p];
            store_wide(to + 4 * w, wide);
        }
        return true;
    }
    return false;
}

// The first `bytes` bytes, at most 4 COUNT; the rest of the words is 0. Bytes are in the order of a little-endian word.
template <int COUNT> __device__ __forceinline__ Words<COUNT> load_words(const uint8_t* from, int64_t bytes) {
    Words<COUNT> words;
    if (load_vectors<4>(words, from, bytes) || load_vectors<2>(words, from, bytes) ||
        load_vectors<1>(words, from, bytes))
        return words;
#pragma unroll
    for (int b = 0; b < 4 * COUNT; ++b)
        if (b < bytes) words.word[b / 4] |= uint32_t(from[b]) << (b % 4 * 8);
    return words;
}

template <int COUNT>
__device__ __forceinline__ void store_words(const Words<COUNT>& words, uint8_t* to, int64_t bytes) {
    if (store_vectors<4>(words, to, bytes) || store_vectors<2>(words, to, bytes) || store_vectors<1>(words, to, bytes))
        return;
#pragma unroll
    for (int b = 0; b < 4 * COUNT; ++b)
        if (b < bytes) to[b] = uint8_t(words.word[b / 4] >> (b % 4 * 8));
}

// Code i lies in the bits from BITS * i on.
template <int BITS> HOST_DEVICE Words<BITS> packed_run(const Words<RUN_WORDS>& codes) {
    Words<BITS> packed;
#pragma unroll
    for (int i = 0; i < RUN; ++i) {
        const uint32_t code = codes.word[i / 4] >> (i % 4 * 8) & ((1u << BITS) - 1);
        const int word = i * BITS / 32, bit = i * BITS % 32;
        packed.word[word] |= code << bit;
        if (bit + BITS > 32) packed.word[word + 1] |= code >> (32 - bit);
    }
    return packed;
}

template <int BITS> HOST_DEVICE Words<RUN_WORDS> unpacked_run(const Words<BITS>& packed) {
    Words<RUN_WORDS> codes;
#pragma unroll
    for (int i = 0; i < RUN; ++i) {
        const int word = i * BITS / 32, bit = i * BITS % 32;
        uint32_t code = packed.word[word] >> bit;
        if (bit + BITS > 32) code |= packed.word[word + 1] << (32 - bit);
        codes.word[i / 4] |= (code & ((1u << BITS) - 1)) << (i % 4 * 8);
    }
    return codes;
}

template <int BITS> struct PackCodes {
    const uint8_t* codes;
    uint8_t* packed;
    int64_t cols, row_bytes;

    __device__ __forceinline__ void operator()(int64_t row, int64_t run) const {
        const int64_t first = run * RUN, place = first / 8 * BITS;
        const auto words = load_words<RUN_WORDS>(codes + row * cols + first, cols - first);
        store_words(packed_run<BITS>(words), packed + row * row_bytes + place, row_bytes - place);
    }
};

template <int BITS> struct UnpackCodes {
    const uint8_t* packed;
    uint8_t* codes;
    int64_t cols, row_bytes;

    __device__ __forceinline__ void operator()(int64_t row, int64_t run) const {
        const int64_t first = run * RUN, place = first / 8 * BITS;
        const auto words = load_words<BITS>(packed + row * row_bytes + place, row_bytes - place);
        store_words(unpacked_run(words), codes + row * cols + first, cols - first);
    }
};

inline int64_t packed_bytes(int64_t cols, int bits) { return ceil_div(cols * bits, 32) * 4; }

// Runs Kernel<bits> for the `bits` that only the running program knows.
template <template <int> class Kernel>
void map_runs(const uint8_t* from, uint8_t* to, int64_t rows, int64_t cols, int bits, Stream stream) {
    const int64_t row_bytes = packed_bytes(cols, bits), runs = ceil_div(cols, RUN);
    if (bits == 2) map_rows(Kernel<2>{from, to, cols, row_bytes}, rows, runs, stream);
    if (bits == 3) map_rows(Kernel<3>{from, to, cols, row_bytes}, rows, runs, stream);
    if (bits == 4) map_rows(Kernel<4>{from, to, cols, row_bytes}, rows, runs, stream);
    if (bits == 8) map_rows(Kernel<8>{from, to, cols, row_bytes}, rows, runs, stream);
}
} // namespace gpu
