// What the CUDA kernels stand on: shared memory as a struct, and the launch. Free of torch: tests/cuda_shim.h stands in
// for the GPU, so that these very kernels and launch sizes run in the tests of a machine without one.
#pragma once
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
} // namespace gpu
#else
#include "cuda_shim.h"
#endif

namespace gpu {
constexpr unsigned ALL_LANES = 0xffffffffu;

HOST_DEVICE constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
} // namespace gpu
