// Eight neighbouring columns of a row of a packed weight as floats: the arithmetic of packed_linear on CUDA, whatever
// the form. Free of torch.
#pragma once
#include <type_traits>

#include "input_numbers.cuh"

namespace gpu {
constexpr int CHUNK = 8;                       // columns of a lane at a time: a byte of a mask
constexpr int TILE_CHUNKS = 4;                 // of a lane at a time
constexpr int TILE = 32 * TILE_CHUNKS * CHUNK; // columns of a warp at a time
constexpr int64_t MAX_LINEAR_COLS = 1 << 28;   // so that a number of 32 bits names an input
constexpr int64_t MAX_LINEAR_GROUPS = 1ll << 31, MAX_LINEAR_BYTES = 1ll << 33; // and a scale, and a word of codes
constexpr int STAGE_SLACK = 48; // before the first entry, and what is read as part of a word after the last

// A packed weight of at least one row and column, and what follows from it for every thread alike.
struct Packed : PackedWeight {
    int width, chunks, tiles; // of a row
    int group_shift;          // a column's group is column >> group_shift; -1: it takes a division
    bool regular;    // whether a tile has no more groups than a warp has lanes, each of whole chunks, and words
                     // of codes can be read at once
    int stage_bytes; // of shared memory for the entries of a tile

    explicit Packed(const PackedWeight& weight) : PackedWeight(weight) {
        width = int(cols);
        chunks = int(mask_bytes());
        tiles = int(ceil_div(cols, TILE));
        group_shift = groups <= 1 ? 31 : -1;
        for (int shift = 0; shift < 31; ++shift)
            if (group_size == int64_t(1) << shift && groups > 1) group_shift = shift;
        const bool even = groups <= 1 || (group_shift >= 0 && group_size >= TILE / 32);
        regular = even && (masked() || aligned_for<uint32_t>(entries));
        stage_bytes = int(TILE * entry_bits() / 8) + STAGE_SLACK;
    }
    // What threads past the last row look at, so that whole warps run along.
    HOST_DEVICE int64_t row_or_last(int64_t row) const { return row < rows ? row : rows - 1; }
    HOST_DEVICE int columns_of(int chunk) const { // those that the weight has, CHUNK but in the last
        const int left = width - chunk * CHUNK;
        return left < CHUNK ? left : CHUNK;
    }
};

// Whether the kernels' numbers suffice.
inline bool fits_kernels(const PackedWeight& weight) {
    return weight.cols <= MAX_LINEAR_COLS && weight.rows * weight.groups <= MAX_LINEAR_GROUPS &&
           weight.rows * weight.zero_bytes <= MAX_LINEAR_GROUPS && weight.rows * weight.row_bytes <= MAX_LINEAR_BYTES;
}

// Number i of a stream of numbers of `width` bits each.
struct CodePlace {
    uint32_t byte, shift;
    bool straddles;
};
HOST_DEVICE CodePlace place_of_code(uint32_t i, uint32_t width) {
    const uint32_t bit = i % 8 * width; // of eight numbers, which are whole bytes; a product with i might overflow
    return {i / 8 * width + bit / 8, bit % 8, bit % 8 + width > 8};
}

__device__ __forceinline__ int code_at(const uint8_t* stream, int i, int width) {
    const CodePlace place = place_of_code(i, width);
    uint32_t code = stream[place.byte] >> place.shift;
    if (place.straddles) code |= stream[place.byte + 1] << (8 - place.shift);
    return int(code & ((1u << width) - 1));
}

// The bits of a number, as loaded: who makes a float of them waits for them.
__device__ __forceinline__ uint32_t raw_number(const void* from, Number number, uint32_t i) {
    if (number == Number::float32) return static_cast<const uint32_t*>(from)[i];
    return static_cast<const uint16_t*>(from)[i];
}
__device__ __forceinline__ float number_of_raw(uint32_t raw, Number number) {
    if (number == Number::float32) return float_of(raw);
    return number == Number::bfloat16 ? from_bfloat16(uint16_t(raw)) : from_float16(uint16_t(raw));
}

// code - zero is made of floats of 2^23 and more, where the unit is 1: offset is 2^23 + zero, and exact.
constexpr float LARGE = 0x1p23f;
struct Step {
    float scale, offset;
};

// The grids of a row.
class RowGrids {
  public:
    __device__ RowGrids(const Packed& weight, int64_t row)
        : first_scale(uint32_t(row * weight.groups)), first_zero(uint32_t(row * weight.zero_bytes)),
          middle(LARGE + float(1 << (weight.bits - 1))) {}

    // A lane's own column, whatever the groups.
    __device__ __forceinline__ Step of(const Packed& weight, int col) const {
        const int shift = weight.group_shift;
        const int group = shift >= 0 ? col >> shift : int(uint32_t(col) / uint32_t(weight.group_size));
        const float scale = number_at(weight.scale, weight.scales, first_scale + group);
        if (!weight.zero) return {scale, middle};
        return {scale, LARGE + float(code_at(weight.zero + first_zero, group, weight.bits))};
    }

    // Where the groups are regular: each lane loads one of a tile, and all of them have all after that.
    __device__ __forceinline__ void fetch(const Packed& weight, int tile) {
        const uint32_t last = uint32_t(weight.groups) - 1, own = (tile * TILE >> weight.group_shift) + threadIdx.x % 32,
                       group = own < last ? own : last;
        scale = raw_number(weight.scale, weight.scales, first_scale + group);
        if (!weight.zero) return;
        const CodePlace place = place_of_code(group, weight.bits);
        const uint8_t* from = weight.zero + first_zero + place.byte;
        shift = place.shift;
        low = from[0];
        high = place.straddles ? from[1] : 0;
    }
    __device__ __forceinline__ void arrive(const Packed& weight) {
        step.scale = number_of_raw(scale, weight.scales);
        if (weight.zero) step.offset = LARGE + float((low | high << 8) >> shift & ((1u << weight.bits) - 1));
    }
    // Of the lane's k-th chunk: a tile begins where a group does, or lies in one.
    __device__ __forceinline__ Step fetched(const Packed& weight, int k) const {
        const int lane = (k * 32 + int(threadIdx.x % 32)) * CHUNK >> weight.group_shift;
        const float own = __shfl_sync(ALL_LANES, step.scale, lane);
        return {own, weight.zero ? __shfl_sync(ALL_LANES, step.offset, lane) : middle};
    }

  private:
    uint32_t first_scale, first_zero, scale = 0, low = 0, high = 0, shift = 0;
    float middle; // the offset where there are no zeros
    Step step = {0.0f, 0.0f};
};

// A weight is weight[j] * scale.
struct Chunk {
    float weight[CHUNK];
    float scale;
};

// Neighbouring codes of at most BITS bits, the first in the lowest bits: as many as a chunk has columns.
template <int BITS> using Window = std::conditional_t<BITS == 8, uint64_t, uint32_t>;

HOST_DEVICE uint64_t shifted_right(uint64_t codes, int bits) { return codes >> bits; }

// code - zero where the mask has a bit, exactly.
template <class Codes>
__device__ __forceinline__ void spread_codes(uint32_t mask, Codes codes, int bits, float offset, float (&to)[CHUNK]) {
#pragma unroll
    for (int j = 0; j < CHUNK; ++j) {
        to[j] = 0.0f;
        if (!(mask >> j & 1)) continue;
        to[j] = float_of(and_or(uint32_t(codes), (1u << bits) - 1, 0x4b000000u)) - offset;
        codes = shifted_right(codes, bits);
    }
}

// 2^23 plus a byte of a word, as one instruction: the three upper bytes are those of the offset, since a zero takes
// one. As a constant they would cost a move each time, beside the selector.
__device__ __forceinline__ float large_of_byte(uint32_t word, int byte, float offset) {
    return float_of(__byte_perm(word, bits_of(offset), 0x7650u | byte));
}

// The same where every column has a code. Codes of widths that divide a byte become bytes several at a time.
template <int BITS> __device__ __forceinline__ void spread_all(Window<BITS> codes, float offset, float (&to)[CHUNK]) {
    if constexpr (BITS == 3) {
        spread_codes(0xffu, codes, BITS, offset, to);
    } else {
        constexpr int EACH = 8 / BITS; // codes of a byte: number j is in byte j / EACH
        constexpr uint32_t KEPT = ((1u << BITS) - 1) * 0x01010101u;
        const uint32_t words[2] = {uint32_t(codes), uint32_t(uint64_t(codes) >> 32)};
#pragma unroll
        for (int j = 0; j < CHUNK; ++j) {
            const int byte = j / EACH;
            to[j] = large_of_byte(words[byte / 4] >> j % EACH * BITS & KEPT, byte % 4, offset) - offset;
        }
    }
}

// The codes of the lane's k-th chunk as weights; `col` is its first column, and spread(offset, to) gives codes -
// (offset - 2^23) to those that the mask has. REGULAR: as in Packed.
template <bool REGULAR, class Spread>
__device__ __forceinline__ Chunk scaled_codes(const Packed& weight, const RowGrids& grids, int k, int col,
                                              uint32_t mask, const Spread& spread) {
    Chunk chunk;
    if (REGULAR || weight.regular) {
        const Step step = REGULAR ? grids.fetched(weight, k) : grids.of(weight, col);
        spread(step.offset, chunk.weight);
        chunk.scale = step.scale;
        return chunk;
    }
    spread(LARGE, chunk.weight);
#pragma unroll
    for (int j = 0; j < CHUNK; ++j) {
        const Step step = grids.of(weight, col + j < weight.width ? col + j : weight.width - 1);
        chunk.weight[j] = mask >> j & 1 ? (chunk.weight[j] - (step.offset - LARGE)) * step.scale : 0.0f;
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
            const int place = code_at(places, g * weight.keep + k, width);
            const int bit = g * weight.group + place - begin;
            fits &= before < place && place < weight.group;
            if (place < weight.group && 0 <= bit && bit < CHUNK) mask |= 1u << bit;
            before = place;
        }
    }
    return mask;
}
} // namespace gpu
