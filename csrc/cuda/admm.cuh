// A step of the ADMM search on CUDA, around the selection of select.cuh: the values before it, the projection after it.
// Free of torch.
#pragma once
#include "admm.h"
#include "device.cuh"

namespace gpu {
constexpr int STEP_THREADS = 256;
constexpr int64_t ENTRIES_PER_BLOCK = 1 << 11;
constexpr int64_t MAX_STEP_BLOCKS = 1 << 12;

// dual becomes the value, whose magnitude is to select by.
template <class Scalar> __global__ void __launch_bounds__(STEP_THREADS)
    step_values_kernel(AdmmStep<Scalar> step, int64_t numel) {
    const int64_t stride = int64_t(gridDim.x) * STEP_THREADS;
    for (int64_t i = int64_t(blockIdx.x) * STEP_THREADS + threadIdx.x; i < numel; i += stride)
        step.dual[i] += step.x[i];
}

// The rest of the step, from the values in dual and what is pruned; adds to *changed.
template <class Scalar> __global__ void __launch_bounds__(STEP_THREADS)
    step_projection_kernel(AdmmStep<Scalar> step, const bool* pruned, unsigned long long* changed, int64_t numel) {
    uint32_t* warp_sums = shared_memory<uint32_t[STEP_THREADS / 32]>();
    const int64_t stride = int64_t(gridDim.x) * STEP_THREADS;
    uint32_t here = 0;
    for (int64_t i = int64_t(blockIdx.x) * STEP_THREADS + threadIdx.x; i < numel; i += stride) {
        const bool keep = !pruned[i];
        const Scalar value = step.dual[i], projected = keep ? value : Scalar(0);
        const Scalar left = next_dual(value, projected, step.shrink);
        here += (step.kept[i] != 0) != keep;
        step.kept[i] = keep;
        step.dual[i] = left;
        step.x[i] = next_right_side(step.target[i], projected, left, step.penalty);
    }
    const uint32_t sum = sum_up_to_here(here, warp_sums);
    if (threadIdx.x == STEP_THREADS - 1 && sum) atomicAdd(changed, static_cast<unsigned long long>(sum));
}

inline dim3 step_grid(int64_t numel) {
    const int64_t blocks = ceil_div(numel, ENTRIES_PER_BLOCK);
    return dim3(unsigned(blocks < MAX_STEP_BLOCKS ? blocks : MAX_STEP_BLOCKS));
}

// numel > 0. Between the two the smallest magnitudes in dual are to be marked.
template <class Scalar> void write_values(const AdmmStep<Scalar>& step, int64_t numel, Stream stream) {
    launch(step_values_kernel<Scalar>, step_grid(numel), STEP_THREADS, size_t(0), stream, step, numel);
}

template <class Scalar> void project(const AdmmStep<Scalar>& step, const bool* pruned, unsigned long long* changed,
                                     int64_t numel, Stream stream) {
    launch(step_projection_kernel<Scalar>, step_grid(numel), STEP_THREADS, sizeof(uint32_t[STEP_THREADS / 32]), stream,
           step, pruned, changed, numel);
}
} // namespace gpu
