// weighted_sum_ on the CPU: a stretch of every row at a time, summed where it stays in the cache. A product and a sum
// must not become one operation with one rounding.
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#else
#pragma GCC optimize("fp-contract=off")
#endif
#include <algorithm>
#include <atomic>
#include <cstring>
#include <type_traits>

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/headeronly/core/ScalarType.h>

#include "isa.h"
#include "ops.h"
#include "weighted_sum_checks.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

using torch::headeronly::ScalarType;

static constexpr int64_t STRETCH = 1024; // numbers of every row at a time
static constexpr int64_t WORTH_A_THREAD = 1 << 17; // products

namespace baseline {
static void widen(const Float16* __restrict from, int64_t count, float* __restrict to) {
    for (int64_t i = 0; i < count; ++i) to[i] = value_of(from[i]);
}
static void narrow(const float* __restrict from, int64_t count, Float16* __restrict to) {
    for (int64_t i = 0; i < count; ++i) to[i] = {to_float16(from[i])};
}
#include "weighted_sum-inl.h"
} // namespace baseline

#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
namespace avx2 {
static void widen(const Float16* from, int64_t count, float* to) {
    int64_t i = 0;
    for (; i + 8 <= count; i += 8)
        _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i))));
    for (; i < count; ++i) to[i] = value_of(from[i]);
}
static void narrow(const float* from, int64_t count, Float16* to) {
    int64_t i = 0;
    for (; i + 8 <= count; i += 8)
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i),
                         _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT));
    for (; i < count; ++i) to[i] = {to_float16(from[i])};
}
#include "weighted_sum-inl.h"
} // namespace avx2
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq")
namespace avx512 {
using avx2::narrow;
using avx2::widen;
#include "weighted_sum-inl.h"
} // namespace avx512
#pragma GCC pop_options
#endif

Tensor weighted_sum_(Tensor out, const Tensor& sources, const Tensor& weights) {
    std::atomic<int64_t> not_finite{0};
    for_weighted_sum(out, sources, weights, [&]<class From, class Sum, class To>(const WeightedSum<From, Sum, To>& job) {
        const auto sum_columns = WIDEST_FOR_THIS_CPU(sum_columns<From, Sum, To>);
        torch::stable::parallel_for(0, job.count, std::max<int64_t>(STRETCH, WORTH_A_THREAD / job.rows),
                                    [&](int64_t begin, int64_t end) { not_finite += sum_columns(job, begin, end); });
    });
    Tensor counted = torch::stable::new_empty(out, {}, ScalarType::Long);
    *static_cast<int64_t*>(counted.data_ptr()) = not_finite;
    return counted;
}

STABLE_TORCH_LIBRARY_IMPL(fmcompress, CPU, m) { m.impl("weighted_sum_", TORCH_BOX(&weighted_sum_)); }
