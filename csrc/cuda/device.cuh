// What the CUDA kernels stand on: shared memory as a struct, the launch, wide moves, a sum. Free of torch:
// tests/cuda_shim.h stands in for the GPU, so that these very kernels and launch sizes run in the tests of a machine
// without one.
#pragma once
#include <type_traits>

#include "common.h"

#ifdef __CUDACC__
#include <cuda_runtime.h>

namespace gpu {
using Stream = cudaStream_t;

// The one dynamic allocation of a thread block, seen as the kernel's own struct.
template <class Shared> __device__ __forceinline__ Shared& shared_memory() {
    extern __shared__ __align__(16) unsigned char shared_bytes[];
    return *reinterpret_cast<Shared*>(shared_bytes);
}

template <class... Parameters, class... Arguments> void launch(void (*kernel)(Parameters...), dim3 grid, int threads,
                                                               size_t shared_bytes, Stream stream,
                                                               Arguments... arguments) {
    if (shared_bytes > 48 << 10) // beyond this a kernel must ask
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes));
    kernel<<<grid, threads, shared_bytes, stream>>>(arguments...);
}

__device__ __forceinline__ void expect_aligned(const void*, size_t) {} // the emulation looks
// Shared memory that may be read before it is written: what is read does not count.
__device__ __forceinline__ void expect_unwritten(const void*, size_t) {}

// value & mask | bits as one instruction: of two constants nvcc makes two.
__device__ __forceinline__ uint32_t and_or(uint32_t value, uint32_t mask, uint32_t bits) {
    uint32_t result;
    asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(result) : "r"(value), "r"(mask), "r"(bits));
    return result;
}

// Opaque: nvcc makes of a shift under a condition one by a number that it first selects.
__device__ __forceinline__ uint32_t shifted_right(uint32_t value, int bits) {
    asm("shr.b32 %0, %0, %1;" : "+r"(value) : "r"(bits));
    return value;
}

// What others may change meanwhile with atomics.
__device__ __forceinline__ uint32_t load_relaxed(const uint32_t* from) {
    uint32_t word;
    asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(word) : "l"(from) : "memory");
    return word;
}

// The compiler moves no load across.
__device__ __forceinline__ void keep_order() { asm volatile("" ::: "memory"); }

// What is computed from the value is computed after this, and not ahead of a condition around it.
__device__ __forceinline__ void keep_here(float& value) { asm volatile("" : "+f"(value)); }

// NaN if either is, one instruction each (sm_80 and later).
__device__ __forceinline__ float larger_or_nan(float a, float b) {
    float result;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(result) : "f"(a), "f"(b));
    return result;
}
__device__ __forceinline__ float smaller_or_nan(float a, float b) {
    float result;
    asm("min.NaN.f32 %0, %1, %2;" : "=f"(result) : "f"(a), "f"(b));
    return result;
}
// The first may be NaN; doubles have no such instruction.
__device__ __forceinline__ double larger_or_nan(double a, double b) { return a < b ? b : a; }
__device__ __forceinline__ double smaller_or_nan(double a, double b) { return b < a ? b : a; }

// 16 bytes, to shared memory; there after arrive_copies, for other threads after a barrier as well (sm_80 and later).
__device__ __forceinline__ void copy_16_bytes(void* to, const void* from) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 16;" ::"r"(uint32_t(__cvta_generic_to_shared(to))), "l"(from)
                 : "memory");
}
// The same of a number; 0, and nothing is read, where there is none.
template <class Scalar> __device__ __forceinline__ void copy_number(Scalar* to, const Scalar* from, bool present) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(uint32_t(__cvta_generic_to_shared(to))),
                 "l"(from), "n"(sizeof(Scalar)), "r"(present ? uint32_t(sizeof(Scalar)) : 0)
                 : "memory");
}
__device__ __forceinline__ void arrive_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

// One instruction: of a plain assignment of floats inside a loop nvcc makes several.
template <class Wide> __device__ __forceinline__ void store_16_bytes(void* to, const Wide& wide) {
    uint4 bits;
    memcpy(&bits, &wide, sizeof bits);
    asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(bits.x), "r"(bits.y), "r"(bits.z),
                 "r"(bits.w)
                 : "memory");
}

// 8 or 16 bytes that nobody reads again, or soon: they are the first to leave the caches.
template <class Wide> __device__ __forceinline__ Wide load_16_or_8_bytes_once(const void* from) {
    using Bits = std::conditional_t<sizeof(Wide) == 16, uint4, uint2>;
    const Bits bits = __ldcs(static_cast<const Bits*>(from));
    Wide wide;
    memcpy(&wide, &bits, sizeof bits);
    return wide;
}

template <class Wide> __device__ __forceinline__ void store_16_or_8_bytes_once(void* to, const Wide& wide) {
    using Bits = std::conditional_t<sizeof(Wide) == 16, uint4, uint2>;
    Bits bits;
    memcpy(&bits, &wide, sizeof bits);
    __stcs(static_cast<Bits*>(to), bits);
}
} // namespace gpu
#else
#include "cuda_shim.h"
#endif

namespace gpu {
constexpr unsigned ALL_LANES = 0xffffffffu;

HOST_DEVICE constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Neighbours in memory that one instruction moves, 16 bytes at most.
template <class Part, int COUNT> struct alignas(sizeof(Part) * COUNT) Vector {
    Part part[COUNT];
};

template <class Wide> HOST_DEVICE bool aligned_for(const void* place) {
    return reinterpret_cast<uintptr_t>(place) % alignof(Wide) == 0;
}

template <class Wide> __device__ __forceinline__ Wide load_wide(const void* from) {
    expect_aligned(from, alignof(Wide));
    return *static_cast<const Wide*>(from);
}

template <class Wide> __device__ __forceinline__ void store_wide(void* to, const Wide& wide) {
    expect_aligned(to, alignof(Wide));
    if constexpr (sizeof(Wide) == 16)
        store_16_bytes(to, wide);
    else
        *static_cast<Wide*>(to) = wide;
}

template <class Wide> __device__ __forceinline__ Wide load_streamed(const void* from) {
    static_assert(sizeof(Wide) == 16 || sizeof(Wide) == 8);
    expect_aligned(from, sizeof(Wide));
    return load_16_or_8_bytes_once<Wide>(from);
}

template <class Wide> __device__ __forceinline__ void store_streamed(void* to, const Wide& wide) {
    static_assert(sizeof(Wide) == 16 || sizeof(Wide) == 8);
    expect_aligned(to, sizeof(Wide));
    store_16_or_8_bytes_once(to, wide);
}

// The sum of `value` over this thread and those before it in the warp.
template <class Value> __device__ __forceinline__ Value sum_up_to_lane(Value value) {
    const int lane = threadIdx.x % 32;
    for (int step = 1; step < 32; step *= 2) {
        const Value before = __shfl_up_sync(ALL_LANES, value, step);
        if (lane >= step) value += before;
    }
    return value;
}

// The same in the block; a word of warp_sums for each warp.
template <class Value> __device__ __forceinline__ Value sum_up_to_here(Value value, Value* warp_sums) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    value = sum_up_to_lane(value);
    if (lane == 31) warp_sums[warp] = value;
    __syncthreads();
    for (int w = 0; w < warp; ++w) value += warp_sums[w];
    return value;
}
} // namespace gpu
