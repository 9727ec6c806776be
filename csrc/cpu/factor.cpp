// factor_block on the CPU: matrices over threads, each in a buffer that fits a core's cache.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

#include <torch/csrc/stable/library.h>
#include <torch/headeronly/core/ScalarType.h>

#include "factor_checks.h"
#include "isa.h"

using torch::headeronly::ScalarType;

static constexpr int DEPTH = 4; // columns that the rest absorbs at a time

namespace baseline {
#define LANE_BYTES 16
#include "vector-inl.h"
#include "factor-inl.h"
#undef LANE_BYTES
} // namespace baseline

#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("avx2,fma")
namespace avx2 {
#define LANE_BYTES 32
#include "vector-inl.h"
#include "factor-inl.h"
#undef LANE_BYTES
} // namespace avx2
#pragma GCC pop_options
#endif

template <class Scalar>
static void factor_matrices(const Tensor& symmetric, Tensor& upper, Tensor& inverse, Tensor& failed) {
    const int n = int(symmetric.size(symmetric.dim() - 1));
    const int64_t size = int64_t(n) * n, worth_a_thread = 1 + (1 << 18) / (size * n);
    const auto* from = static_cast<const Scalar*>(symmetric.data_ptr());
    auto *to = static_cast<Scalar*>(upper.data_ptr()), *inverted = static_cast<Scalar*>(inverse.data_ptr());
    auto* flags = static_cast<int32_t*>(failed.data_ptr());
    const auto factor_matrix = FOR_THIS_CPU(factor_matrix<Scalar>);
    torch::stable::parallel_for(0, failed.numel(), worth_a_thread, [=](int64_t begin, int64_t end) {
        std::vector<Scalar> room(FOR_THIS_CPU(FactorRoom<Scalar>::scalars(n)));
        for (int64_t b = begin; b < end; ++b) {
            std::fill(room.begin(), room.end(), Scalar(0));
            flags[b] = !factor_matrix(from + b * size, to + b * size, inverted + b * size, n, room.data());
        }
    });
}

std::tuple<Tensor, Tensor, Tensor> factor_block(const Tensor& symmetric) {
    check_small_squares(symmetric);
    auto [upper, inverse, failed] = new_factors(symmetric);
    const auto run = symmetric.scalar_type() == ScalarType::Double ? factor_matrices<double> : factor_matrices<float>;
    run(symmetric, upper, inverse, failed);
    return {upper, inverse, failed};
}

STABLE_TORCH_LIBRARY_IMPL(fmcompress, CPU, m) { m.impl("factor_block", TORCH_BOX(&factor_block)); }
