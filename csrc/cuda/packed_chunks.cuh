// Eight neighbouring columns of a row of a packed weight as floats: the arithmetic of packed_linear on CUDA, whatever
// the form. Free of torch.
#pragma once
#include <type_traits>

#include "device.cuh"
#include "numbers.h"

namespace gpu {
constexpr int CHUNK = 8;                       // columns of a lane at a time: a byte of a mask
constexpr int TILE_CHUNKS = 4;                 // of a lane at a time
constexpr int TILE = 32 * TILE_CHUNKS * CHUNK; // columns of a warp at a time
constexpr int64_t MAX_LINEAR_COLS = 1 << 30;   // numbers of columns are int in the kernels
constexpr int STAGE_SLACK = 48;                // before the first entry, and what is read as part of a word after the last

struct Bfloat16 {
    uint16_t bits;
};
struct Float16 {
    uint16_t bits;
};
HOST_DEVICE float to_float(float number) { return number; }
HOST_DEVICE float to_float(Bfloat16 number) { return from_bfloat16(number.bits); }
HOST_DEVICE float to_float(Float16 number) { return from_float16(number.bits); }
HOST_DEVICE void from_float(float number, float& to) { to = number; }
HOST_DEVICE void from_float(float number, Bfloat16& to) { to.bits = to_bfloat16(number); }
HOST_DEVICE void from_float(float number, Float16& to) { to.bits = to_float16(number); }

// body(a number of that type), on either side
#pragma nv_exec_check_disable
template <class Body> HOST_DEVICE void with_number(Number number, const Body& body) {
    if (number == Number::float32)
        body(float());
    else if (number == Number::bfloat16)
        body(Bfloat16());
    else
        body(Float16());
}

// A packed weight of at least one row and column, and what follows from it for every thread alike.
struct Packed : PackedWeight {
    int group_shift; // a column's group is column >> group_shift; -1: it takes a division
    bool even;       // whether the columns of a chunk share a group
    bool aligned;    // whether words of codes without a mask can be read at once
    int stage_bytes; // of shared memory for the entries of a tile

    explicit Packed(const PackedWeight& weight) : PackedWeight(weight) {
        group_shift = groups <= 1 ? 31 : -1;
        for (int shift = 0; shift < 31; ++shift)
            if (group_size == int64_t(1) << shift && groups > 1) group_shift = shift;
        even = groups <= 1 || group_size % CHUNK == 0;
        aligned = aligned_for<uint32_t>(entries);
        stage_bytes = int(TILE * entry_bits() / 8) + STAGE_SLACK;
    }
    HOST_DEVICE int group_of(int col) const { return group_shift >= 0 ? col >> group_shift : col / int(group_size); }
    HOST_DEVICE int chunks() const { return int(mask_bytes()); }
    HOST_DEVICE int tiles() const { return int(ceil_div(cols, TILE)); }
    HOST_DEVICE int columns_of(int chunk) const { // those that the weight has, CHUNK but in the last
        const int64_t left = cols - int64_t(chunk) * CHUNK;
        return left < CHUNK ? int(left) : CHUNK;
    }
};

// Number i of a stream of numbers of `width` bits each.
__device__ __forceinline__ int code_at(const uint8_t* stream, int64_t i, int width) {
    const int64_t byte = i * width >> 3;
    const int shift = int(i * width & 7);
    int code = stream[byte] >> shift;
    if (shift + width > 8) code |= stream[byte + 1] << (8 - shift);
    return code & ((1 << width) - 1);
}

struct Step {
    float scale, zero;
};

__device__ __forceinline__ Step step_of(const Packed& weight, int64_t row, int col) {
    const int group = weight.group_of(col);
    const float scale = number_at(weight.scale, weight.scales, row * weight.groups + group);
    if (!weight.zero) return {scale, float(1 << (weight.bits - 1))};
    return {scale, float(code_at(weight.zero + row * weight.zero_bytes, group, weight.bits))};
}

// A weight is weight[j] * scale.
struct Chunk {
    float weight[CHUNK];
    float scale;
};

// Neighbouring codes of at most BITS bits, the first in the lowest bits: as many as a chunk has columns.
template <int BITS> using Window = std::conditional_t<BITS == 8, uint64_t, uint32_t>;

// code - zero where the mask has a bit, exactly: in a float of 2^23 or more the unit is 1.
template <class Codes>
__device__ __forceinline__ void spread_codes(uint32_t mask, Codes codes, int bits, float zero, float (&to)[CHUNK]) {
    const float offset = 0x1p23f + zero;
#pragma unroll
    for (int j = 0; j < CHUNK; ++j) {
        const bool kept = mask >> j & 1;
        to[j] = kept ? float_of(0x4b000000u | (uint32_t(codes) & ((1u << bits) - 1))) - offset : 0.0f;
        if (kept) codes >>= bits;
    }
}

// The codes of a chunk as weights; `col` is its first column. EVEN: its columns share a group.
template <bool EVEN, class Codes> __device__ __forceinline__ Chunk
scaled_codes(const Packed& weight, int64_t row, int col, uint32_t mask, Codes codes, int bits) {
    Chunk chunk;
    if (EVEN || weight.even) {
        const Step step = step_of(weight, row, col);
        spread_codes(mask, codes, bits, step.zero, chunk.weight);
        chunk.scale = step.scale;
        return chunk;
    }
    spread_codes(mask, codes, bits, 0.0f, chunk.weight);
#pragma unroll
    for (int j = 0; j < CHUNK; ++j) {
        const int64_t own = int64_t(col) + j < weight.cols ? col + j : weight.cols - 1;
        const Step step = step_of(weight, row, int(own));
        chunk.weight[j] = mask >> j & 1 ? (chunk.weight[j] - step.zero) * step.scale : 0.0f;
    }
    chunk.scale = 1.0f;
    return chunk;
}

template <class Value>
__device__ __forceinline__ void spread_values(uint32_t mask, const Value* values, float (&to)[CHUNK]) {
#pragma unroll
    for (int j = 0; j < CHUNK; ++j) {
        to[j] = 0.0f;
        if (mask >> j & 1) to[j] = to_float(*values++);
    }
}

// What a 4-bit number of two places says: a bit for each, or fewer than two where they do not ascend.
__device__ __forceinline__ uint32_t mask_of_2_in_4(uint32_t places) {
    const uint32_t first = places & 3, second = places >> 2 & 3;
    return first < second ? 1u << first | 1u << second : 0;
}

// The mask of a chunk by the places of the groups that it meets; `fits` becomes false where they do not ascend inside
// their group.
__device__ __forceinline__ uint32_t mask_of_places(const Packed& weight, const uint8_t* places, int chunk, bool& fits) {
    const int begin = chunk * CHUNK, end = begin + weight.columns_of(chunk), width = index_bits(weight.group);
    uint32_t mask = 0;
    for (int g = begin / weight.group; g * weight.group < end; ++g) {
        int before = -1;
        for (int k = 0; k < weight.keep; ++k) {
            const int place = code_at(places, int64_t(g) * weight.keep + k, width);
            const int bit = g * weight.group + place - begin;
            fits &= before < place && place < weight.group;
            if (place < weight.group && 0 <= bit && bit < CHUNK) mask |= 1u << bit;
            before = place;
        }
    }
    return mask;
}
} // namespace gpu
