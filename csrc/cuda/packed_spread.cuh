// Codes of eight columns become pairs of half floats, the operand of a tensor core's product. Free of torch.
#pragma once
#include "packed_chunks.cuh"
#include "tensor_core.cuh"

namespace gpu {
// A code is SHIFT bits up in the lower byte of a half float whose upper byte is HIGH: a number of UNITs, exactly. The
// zero of its grid as such a float is subtracted after the product with the inputs, where no weight takes an
// instruction more for it; an infinite input makes NaN of that. The difference of a code and the zero is exact, and so
// is 0 where all of a row's codes are the zero: both products round alike.
template <class Scalar, int BITS> struct CodeFloat;
template <int BITS> struct CodeFloat<Bfloat16, BITS> { // 128 + code: its unit is 1
    static constexpr uint32_t HIGH = 0x43434343;
    static constexpr int SHIFT = 0;
    static constexpr float UNIT = 1.0f;
};
template <> struct CodeFloat<Bfloat16, 8> { // subnormal numbers; of UNITs when they are lifted
    static constexpr uint32_t HIGH = 0;
    static constexpr int SHIFT = 0;
    static constexpr float UNIT = 0x1p-7f;
};
// Subnormal, which tensor cores multiply as exactly as others. What they add they cut off 24 or 25 bits below the
// largest exponent, and a subnormal number counts as if it were 2^-14: so codes are as large as a byte allows.
template <int BITS> struct CodeFloat<Float16, BITS> {
    static constexpr uint32_t HIGH = 0;
    static constexpr int SHIFT = BITS == 8 ? 0 : 4;
    static constexpr float UNIT = BITS == 8 ? 0x1p-24f : 0x1p-20f;
};
// Of codes of four bits in the lower bytes, beside other bits.
template <class Scalar> __device__ __forceinline__ uint32_t pair_of_codes(uint32_t codes) {
    using Float = CodeFloat<Scalar, 4>;
    return and_or(codes, 0x000f000fu << Float::SHIFT, Float::HIGH & 0xff00ff00u);
}

// The bits of a bfloat16 that are a code of 8 bits are a number of 2^-133s, whose products would vanish. Times 2^126 it
// is one of UNITs, and in the same instruction its zero is subtracted: exactly, as the difference has eight bits, too.
template <class Scalar, int BITS> constexpr bool LIFTED = BITS == 8 && std::is_same_v<Scalar, Bfloat16>;
__device__ __forceinline__ uint32_t lift_codes(uint32_t pair, uint32_t offset) {
    return multiply_add(pair, 0x7e807e80u, offset, Bfloat16());
}
__device__ __forceinline__ uint32_t offset_of_zeros(uint32_t pair) { return lift_codes(pair, 0) ^ 0x80008000u; }

// Of eight codes the last are those of a mask of eight columns. By that mask: four bits for each column, which byte of
// {codes 0, 2, 4, 6; codes 1, 3, 5, 7} it gets, the first one where it has no entry.
struct Selectors {
    uint32_t of_mask[256];
};
constexpr Selectors all_selectors() {
    Selectors all{};
    for (uint32_t mask = 0; mask < 256; ++mask) {
        uint32_t rank = 8;
        for (uint32_t column = 0; column < 8; ++column) rank -= mask >> column & 1;
        for (uint32_t column = 0; column < 8; ++column) {
            const uint32_t has = mask >> column & 1;
            all.of_mask[mask] |= (has ? rank / 2 + rank % 2 * 4 : 0) << 4 * column;
            rank += has;
        }
    }
    return all;
}
static __device__ constexpr Selectors SELECTORS = all_selectors();

// Eight neighbouring codes, four bits each.
template <int BITS> __device__ __forceinline__ uint32_t nibbles_of(uint32_t codes) {
    if constexpr (BITS == 2) {
        codes = permute(codes, 0, 0x4140); // two bytes apart
        codes = (codes | codes << 4) & 0x0f0f0f0fu;
        codes = (codes | codes << 2) & 0x33333333u;
    } else if constexpr (BITS == 3) {
        codes = (codes & 0x000fffu) | (codes & 0xfff000u) << 4;
        codes = (codes & 0x003f003fu) | (codes & 0x0fc00fc0u) << 2;
        codes = (codes & 0x07070707u) | (codes & 0x38383838u) << 1;
    }
    return codes;
}

// Columns 0 and 1, 2 and 3, 4 and 5, 6 and 7, of a byte each.
template <class Scalar, int BITS>
__device__ __forceinline__ void pairs_of_bytes(uint32_t low, uint32_t high, uint32_t (&pairs)[4]) {
    constexpr uint32_t HIGH = CodeFloat<Scalar, BITS>::HIGH;
    pairs[0] = permute(low, HIGH, 0x4140);
    pairs[1] = permute(low, HIGH, 0x4342);
    pairs[2] = permute(high, HIGH, 0x4140);
    pairs[3] = permute(high, HIGH, 0x4342);
}

// Every other of eight nibbles, from number 0 or 1 on, where bytes have their codes.
template <class Scalar, int FIRST> __device__ __forceinline__ uint32_t bytes_of_nibbles(uint32_t codes) {
    constexpr int SHIFT = CodeFloat<Scalar, 4>::SHIFT - 4 * FIRST;
    return (SHIFT < 0 ? codes >> -SHIFT : codes << SHIFT) & 0x0f0f0f0fu << CodeFloat<Scalar, 4>::SHIFT;
}

// The same of a mask. codes: the zero of the row as often as the mask lacks a bit, then the codes of its columns.
template <class Scalar>
__device__ __forceinline__ void spread_nibbles(uint32_t codes, uint32_t selectors, uint32_t (&pairs)[4]) {
    const uint32_t even = bytes_of_nibbles<Scalar, 0>(codes), odd = bytes_of_nibbles<Scalar, 1>(codes);
    pairs_of_bytes<Scalar, 4>(permute(even, odd, selectors), permute(even, odd, selectors >> 16), pairs);
}

// Where every column has a code: columns 0 and 4, 1 and 5, 2 and 6, 3 and 7.
template <class Scalar> __device__ __forceinline__ void pairs_of_four(uint32_t codes, uint32_t (&pairs)[4]) {
    codes = pinned(codes); // or nvcc shifts what they are made of, in more instructions
#pragma unroll
    for (int j = 0; j < 4; ++j) {
        const int shift = CodeFloat<Scalar, 4>::SHIFT - 4 * j;
        pairs[j] = pair_of_codes<Scalar>(shift < 0 ? codes >> -shift : codes << shift);
    }
}
} // namespace gpu
