// What csrc/cuda/tensor_core.cuh has on a GPU, for the fibers of cuda_shim.h.
#pragma once
#include <cmath>

namespace gpu {
inline uint32_t permute(uint32_t low, uint32_t high, uint32_t selector) {
    const uint32_t bytes = __byte_perm(low, high, selector);
    uint32_t result = 0;
    for (int j = 0; j < 4; ++j) {
        const uint32_t byte = bytes >> 8 * j & 0xff;
        result |= (selector >> (4 * j + 3) & 1 ? byte >> 7 ? 0xff : 0 : byte) << 8 * j;
    }
    return result;
}
inline uint32_t multiply_add(uint32_t a, uint32_t b, uint32_t c, Bfloat16) {
    const auto half = [=](int shift) {
        const auto number = [=](uint32_t pair) { return from_bfloat16(uint16_t(pair >> shift)); };
        return uint32_t(to_bfloat16(number(a) * number(b) + number(c))) << shift; // a product is exact in float
    };
    return half(0) | half(16);
}
inline uint32_t pinned(uint32_t value) { return value; }

// A half float as a tensor core has it: of a subnormal number, and of zero, the least exponent.
struct CoreNumber {
    float value;
    int exponent;

    CoreNumber() = default;
    SHIM_OWN CoreNumber(uint16_t bits, Float16)
        : value(from_float16(bits)), exponent(exponent_of(bits >> 10 & 31, 15)) {}
    SHIM_OWN CoreNumber(uint16_t bits, Bfloat16)
        : value(from_bfloat16(bits)), exponent(exponent_of(bits >> 7 & 255, 127)) {}
    static int exponent_of(int field, int bias) { return (field > 0 ? field : 1) - bias; }
};

// sum + the products of 16 numbers, as on sm_80 and later at least: what is added is cut off 24 bits below the largest
// exponent, in steps of eight products (found by experiment: P. Xie et al., "MMA-Sim", arXiv 2511.10909).
SHIM_OWN inline float add_products(float sum, const CoreNumber (&a)[16], const CoreNumber (&b)[16]) {
    for (int first = 0; first < 16; first += 8) {
        int most = sum == 0 ? -400 : std::ilogb(sum);
        float plain = sum;
        for (int k = first; k < first + 8; ++k) {
            const float product = a[k].value * b[k].value;
            plain += product;
            if (product != 0 && a[k].exponent + b[k].exponent > most) most = a[k].exponent + b[k].exponent;
        }
        if (plain - plain != 0) return plain; // infinite or NaN
        const double unit = std::ldexp(1.0, most - 24);
        double total = std::trunc(sum / unit);
        for (int k = first; k < first + 8; ++k) total += std::trunc(double(a[k].value) * b[k].value / unit);
        sum = float(total * unit);
    }
    return sum;
}

// As tensor_core.cuh says; Scalar is a half float. No barrier for memory, as a shuffle is none.
template <class Scalar> SHIM_OWN void mma(float (&sums)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Scalar,
                                          shim::Site site = shim::Site::current()) {
    const unsigned warp = shim::current->thread / 32;
    const auto meet = [&]() SHIM_OWN { shim::wait_at(shim::warp_barriers[warp], 32, site); };
    const auto half = [&](int lane, int i) SHIM_OWN { // number i of what a lane shows
        uint16_t bits;
        __builtin_memcpy(&bits, shim::lanes[warp][lane] + 2 * i, 2);
        return CoreNumber(bits, Scalar());
    };
    const int g = shim::lane() / 4, t = shim::lane() % 4;
    CoreNumber rows[2][16], columns[2][16];
    __builtin_memcpy(shim::lanes[warp][shim::lane()], a, 16);
    meet();
    for (int k = 0; k < 16; ++k)
        for (int r = 0; r < 2; ++r) rows[r][k] = half(4 * g + k % 8 / 2, 4 * (k / 8) + 2 * r + k % 2);
    meet();
    __builtin_memcpy(shim::lanes[warp][shim::lane()], b, 8);
    meet();
    for (int k = 0; k < 16; ++k)
        for (int c = 0; c < 2; ++c) columns[c][k] = half(4 * (2 * t + c) + k % 8 / 2, 2 * (k / 8) + k % 2);
    meet();
    for (int i = 0; i < 4; ++i) sums[i] = add_products(sums[i], rows[i / 2], columns[i % 2]);
}
} // namespace gpu
