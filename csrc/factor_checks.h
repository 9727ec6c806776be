// The argument of factor_block, checked, and its results.
#pragma once
#include <vector>

#include <torch/csrc/stable/ops.h>

#include "checks.h"

inline void check_small_squares(const Tensor& symmetric) {
    using torch::headeronly::ScalarType;
    const int64_t dim = symmetric.dim(), n = dim ? symmetric.size(dim - 1) : 0;
    require((dim == 2 || dim == 3) && symmetric.size(dim - 2) == n,
            "symmetric: expected [n, n] or [batch, n, n]. Reshape it.");
    require(1 <= n && n <= 128, "symmetric: expected 1 to 128 columns, got ", n, ". Factor it block by block.");
    const ScalarType dtype = symmetric.scalar_type();
    require(dtype == ScalarType::Float || dtype == ScalarType::Double, "symmetric: expected float32 or float64.");
    require(symmetric.is_contiguous(), "symmetric: expected contiguous rows. Call .contiguous() first.");
}

// upper, inverse, failed
inline std::tuple<Tensor, Tensor, Tensor> new_factors(const Tensor& symmetric) {
    const int64_t dim = symmetric.dim(), n = symmetric.size(dim - 1);
    std::vector<int64_t> batch;
    if (dim == 3) batch.push_back(symmetric.size(0));
    std::vector<int64_t> sizes = batch;
    sizes.insert(sizes.end(), {n, n});
    using torch::stable::new_empty;
    return {new_empty(symmetric, sizes), new_empty(symmetric, sizes),
            new_empty(symmetric, batch, torch::headeronly::ScalarType::Int)};
}
