// weighted_sum_ on CUDA: a thread for a few neighbouring columns, which it moves at once where rows allow. Free of
// torch.
#pragma once
#include "device.cuh"
#include "weighted_sum.h"

namespace gpu {
constexpr int SUM_THREADS = 256;
constexpr int SUM_RESIDENT = 4; // thread blocks of a multiprocessor, at least: without a word nvcc spills
constexpr int64_t COLUMNS_PER_THREAD = 4;
constexpr int64_t MAX_SUM_BLOCKS = 1 << 12;

// WIDTH neighbours at a time, on boundaries of as many; adds to *not_finite.
template <class From, class Sum, class To, int WIDTH> __global__ void __launch_bounds__(SUM_THREADS, SUM_RESIDENT)
    weighted_sum_kernel(const From* sources, const Sum* weights, To* out, unsigned long long* not_finite, int64_t rows,
                        int64_t count) {
    uint32_t* warp_sums = shared_memory<uint32_t[SUM_THREADS / 32]>();
    const int64_t stride = int64_t(gridDim.x) * SUM_THREADS * WIDTH;
    uint32_t here = 0;
    for (int64_t i = (int64_t(blockIdx.x) * SUM_THREADS + threadIdx.x) * WIDTH; i < count; i += stride) {
        Sum totals[WIDTH];
        for (Sum& total : totals) total = Sum(-0.0); // and a product is that product, a -0 too
        for (int64_t row = 0; row < rows; ++row) {
            const auto from = load_wide<Vector<From, WIDTH>>(sources + row * count + i);
            for (int k = 0; k < WIDTH; ++k)
                totals[k] += rounded_product(static_cast<Sum>(value_of(from.part[k])), weights[row]);
        }
        Vector<To, WIDTH> rounded;
        for (int k = 0; k < WIDTH; ++k) {
            rounded.part[k] = Rounded<To>::of(totals[k]);
            here += !is_finite(rounded.part[k]);
        }
        store_wide(out + i, rounded);
    }
    const uint32_t sum = sum_up_to_here(here, warp_sums);
    if (threadIdx.x == SUM_THREADS - 1 && sum) atomicAdd(not_finite, static_cast<unsigned long long>(sum));
}

// rows > 0, count > 0
template <class From, class Sum, class To> void sum_rows(const From* sources, const Sum* weights, To* out,
                                                         unsigned long long* not_finite, int64_t rows, int64_t count,
                                                         Stream stream) {
    constexpr int width = sizeof(From) == 8 || sizeof(To) == 8 ? 2 : 4;
    const int64_t needed = ceil_div(count, SUM_THREADS * COLUMNS_PER_THREAD);
    const dim3 grid(unsigned(needed < MAX_SUM_BLOCKS ? needed : MAX_SUM_BLOCKS));
    const bool wide =
        count % width == 0 && aligned_for<Vector<From, width>>(sources) && aligned_for<Vector<To, width>>(out);
    const auto kernel = wide ? weighted_sum_kernel<From, Sum, To, width> : weighted_sum_kernel<From, Sum, To, 1>;
    launch(kernel, grid, SUM_THREADS, sizeof(uint32_t[SUM_THREADS / 32]), stream, sources, weights, out, not_finite,
           rows, count);
}
} // namespace gpu
