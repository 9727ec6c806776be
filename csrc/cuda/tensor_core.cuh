// What products by tensor cores stand on: the product of a warp (sm_80 and later), moves of bytes and bits inside
// registers. Free of torch: tests/cuda_shim.h has the same for a CPU.
#pragma once
#include "input_numbers.cuh"

#ifdef __CUDACC__
namespace gpu {
#define FMC_MMA(TYPE)                                                                                                  \
    asm("mma.sync.aligned.m16n8k16.row.col.f32." TYPE "." TYPE ".f32 "                                                 \
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                                              \
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])                                                   \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))

// sums [16, 8] += a [16, 16] b [16, 8], of a whole warp. Lane l, with g = l / 4 and t = l % 4, has of a the pairs
// 2t, 2t + 1 of row g (a[0]) and of row g + 8 (a[1]) and the pairs 8 columns later (a[2], a[3]); of b the same pairs of
// column g; of the sums columns 2t and 2t + 1 of row g, then of row g + 8. (PTX ISA, "Matrix Fragments for mma.m16n8k16
// with floating point type")
__device__ __forceinline__ void mma(float (&sums)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Bfloat16) {
    FMC_MMA("bf16");
}
__device__ __forceinline__ void mma(float (&sums)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Float16) {
    FMC_MMA("f16");
}
#undef FMC_MMA

// Both halves of a * b + c, rounded once. Subnormal numbers count.
__device__ __forceinline__ uint32_t multiply_add(uint32_t a, uint32_t b, uint32_t c, Bfloat16) {
    uint32_t result;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(result) : "r"(a), "r"(b), "r"(c));
    return result;
}

// Byte j of the result is the one of the eight that bits 4j to 4j + 2 of the selector name; the sign of that one, eight
// times, where bit 4j + 3 is set. __byte_perm clears these bits, which takes an instruction.
__device__ __forceinline__ uint32_t permute(uint32_t low, uint32_t high, uint32_t selector) {
    uint32_t result;
    asm("prmt.b32 %0, %1, %2, %3;" : "=r"(result) : "r"(low), "r"(high), "r"(selector));
    return result;
}

// Stays in a register: nvcc would compute it again wherever it is needed.
__device__ __forceinline__ uint32_t pinned(uint32_t value) {
    asm volatile("" : "+r"(value));
    return value;
}
} // namespace gpu
#else
#include "tensor_core_shim.h"
#endif
