// A tensor's numbers of any dtype, four neighbours at a time, and many on their way at once. Free of torch.
#pragma once
#include "cocktail.h"
#include "pack.cuh"
#include "select.cuh"

namespace gpu {
constexpr int COCKTAIL_THREADS = SELECT_THREADS;
constexpr int COCKTAIL_WARPS = COCKTAIL_THREADS / 32;
constexpr int FOUR = 4;                         // of float32 16 bytes: what a warp moves has no gaps
constexpr int IN_FLIGHT = 4;                    // fours of a tensor that a thread asks for before it waits
constexpr int STRIDE = FOUR * COCKTAIL_THREADS; // from one four of a thread to its next
constexpr int TILE = STRIDE * IN_FLIGHT;        // elements that a thread block moves at once
static_assert(COCKTAIL_LARGEST_BLOCK / 32 <= COCKTAIL_THREADS); // a word of a mask to each thread

// A tensor's numbers; data is null where there are none.
struct Numbers {
    void* data;
    Number number;
    int64_t numel;

    __device__ __forceinline__ float at(int64_t i) const { return number_at(data, number, i); }
    __device__ __forceinline__ void put(int64_t i, float value) const { put_number(data, number, i, value); }
    // Whether four may move at once from here on. `first` is a multiple of four.
    __device__ __forceinline__ bool wide(int64_t first) const {
        return first + FOUR <= numel && reinterpret_cast<uintptr_t>(data) % 16 == 0;
    }
};

struct alignas(16) Four {
    float at[FOUR];
};

// Four as they lie in memory, of halves in the first two words: to convert them is to wait for them.
struct alignas(16) RawFour {
    uint32_t word[FOUR];
};

// Those after the last are 0. ONCE: nobody reads them again.
template <bool ONCE> __device__ __forceinline__ RawFour load_raw(const Numbers& from, int64_t first) {
    using Halves = Vector<uint32_t, 2>;
    RawFour raw{};
    const bool floats = from.number == Number::float32;
    const uint8_t* bytes = static_cast<const uint8_t*>(from.data) + (first << (floats ? 2 : 1));
    if (!from.wide(first)) {
#pragma unroll
        for (int i = 0; i < FOUR; ++i) {
            if (first + i >= from.numel) break;
            if (floats)
                raw.word[i] = reinterpret_cast<const uint32_t*>(bytes)[i];
            else
                raw.word[i / 2] |= uint32_t(reinterpret_cast<const uint16_t*>(bytes)[i]) << i % 2 * 16;
        }
    } else if (floats) {
        raw = ONCE ? load_streamed<RawFour>(bytes) : load_wide<RawFour>(bytes);
    } else {
        const auto two = ONCE ? load_streamed<Halves>(bytes) : load_wide<Halves>(bytes);
        raw.word[0] = two.part[0], raw.word[1] = two.part[1];
    }
    return raw;
}

__device__ __forceinline__ Four widened(const RawFour& raw, Number number) {
    Four four;
#pragma unroll
    for (int i = 0; i < FOUR; ++i) {
        const auto half = uint16_t(raw.word[i / 2] >> i % 2 * 16);
        four.at[i] = number == Number::float32    ? float_of(raw.word[i])
                     : number == Number::bfloat16 ? from_bfloat16(half)
                                                  : from_float16(half);
    }
    return four;
}

// Nobody reads them soon.
__device__ __forceinline__ void store_four(const Numbers& to, int64_t first, const Four& four) {
    if (!to.wide(first)) {
#pragma unroll
        for (int i = 0; i < FOUR; ++i)
            if (first + i < to.numel) to.put(first + i, four.at[i]);
    } else if (to.number == Number::float32) {
        store_streamed(static_cast<float*>(to.data) + first, four);
    } else {
        Vector<uint16_t, FOUR> halves;
#pragma unroll
        for (int i = 0; i < FOUR; ++i)
            halves.part[i] = to.number == Number::bfloat16 ? to_bfloat16(four.at[i]) : to_float16(four.at[i]);
        store_streamed(static_cast<uint16_t*>(to.data) + first, halves);
    }
}
} // namespace gpu
