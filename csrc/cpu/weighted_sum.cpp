// weighted_sum_ on the CPU: a stretch of every row at a time, summed where it stays in the cache. A product and a sum
// must not become one operation with one rounding.
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#else
#pragma GCC optimize("fp-contract=off")
#endif
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized" // of the AVX-512 intrinsics of GCC 12
#endif
#include <algorithm>
#include <atomic>
#include <type_traits>

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/headeronly/core/ScalarType.h>

#include "isa.h"
#include "weighted_sum_checks.h"
#include "weighted_sum_isa.h"

using torch::headeronly::ScalarType;

static constexpr int64_t WORTH_A_THREAD = 1 << 17; // products

namespace baseline {
#include "weighted_sum-inl.h"
} // namespace baseline

#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
namespace avx2 {
#include "weighted_sum-inl.h"
} // namespace avx2
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq")
namespace avx512 {
#include "weighted_sum-inl.h"
} // namespace avx512
#pragma GCC pop_options
#endif

Tensor weighted_sum_(Tensor out, const Tensor& sources, const Tensor& weights) {
    std::atomic<int64_t> not_finite{0};
    for_weighted_sum(out, sources, weights, [&]<class From, class Sum, class To>(WeightedSum<From, Sum, To> job) {
        const auto sum_columns = WIDEST_FOR_THIS_CPU(sum_columns<From, Sum, To>);
        const int64_t worth_a_thread = std::max<int64_t>(STRETCH, WORTH_A_THREAD / job.rows);
        torch::stable::parallel_for(0, job.count, worth_a_thread,
                                    [&](int64_t begin, int64_t end) { not_finite += sum_columns(job, begin, end); });
    });
    Tensor counted = torch::stable::new_empty(out, {}, ScalarType::Long);
    *static_cast<int64_t*>(counted.data_ptr()) = not_finite;
    return counted;
}

STABLE_TORCH_LIBRARY_IMPL(fmcompress, CPU, m) { m.impl("weighted_sum_", TORCH_BOX(&weighted_sum_)); }
