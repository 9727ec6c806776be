// The numbers that a product takes and gives, float32 or half floats, and neighbours of them as floats. Free of torch.
#pragma once
#include "device.cuh"
#include "numbers.h"

namespace gpu {
struct Bfloat16 {
    uint16_t bits;
};
struct Float16 {
    uint16_t bits;
};
HOST_DEVICE float to_float(float number) { return number; }
HOST_DEVICE float to_float(Bfloat16 number) { return from_bfloat16(number.bits); }
HOST_DEVICE float to_float(Float16 number) { return from_float16(number.bits); }

// The two numbers of a word, the first in the lower half.
HOST_DEVICE void to_floats(uint32_t pair, Bfloat16, float& first, float& second) {
    first = float_of(pair << 16);
    second = float_of(pair & 0xffff0000u);
}
HOST_DEVICE void to_floats(uint32_t pair, Float16, float& first, float& second) {
    first = from_float16(uint16_t(pair));
    second = from_float16(uint16_t(pair >> 16));
}

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

// The inputs of a token from a column on, 0 after the last one; the token's first is number `first` of x. Branches are
// alike for a whole warp, which shuffles elsewhere.
template <class Scalar, int COUNT> __device__ __forceinline__ void
load_inputs(const Scalar* x, uint32_t first, int col, int cols, bool wide, float (&to)[COUNT]) {
    if (wide) {
        constexpr int EACH = 4 / sizeof(Scalar), STEP = 4 * EACH; // numbers of a word, and of 16 bytes
#pragma unroll
        for (int j = 0; j < COUNT; j += STEP) {
            const auto words = load_wide<Vector<uint32_t, 4>>(x + (first + uint32_t(col + j)));
#pragma unroll
            for (int w = 0; w < 4; ++w) {
                float* const own = to + j + w * EACH;
                if constexpr (EACH == 1)
                    *own = float_of(words.part[w]);
                else
                    to_floats(words.part[w], Scalar(), own[0], own[1]);
            }
        }
    } else {
#pragma unroll
        for (int j = 0; j < COUNT; ++j) to[j] = col + j < cols ? to_float(x[first + uint32_t(col + j)]) : 0.0f;
    }
}
} // namespace gpu
