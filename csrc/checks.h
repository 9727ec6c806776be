// The memory safety of the ops, for whoever calls torch.ops.fmcompress.* past the checks of fmcompress/_ops: no shape,
// dtype or option that gets through here leads out of a tensor.
#pragma once
#include <initializer_list>

#include <torch/headeronly/core/ScalarType.h>

#include "ops.h"

// A contiguous tensor of that dtype and those sizes, on the device of another.
inline void check_tensor(const Tensor& tensor, const char* name, torch::headeronly::ScalarType dtype,
                         std::initializer_list<int64_t> sizes, const Tensor& beside) {
    bool fits = tensor.scalar_type() == dtype && tensor.dim() == static_cast<int64_t>(sizes.size());
    int64_t axis = 0;
    if (fits)
        for (const int64_t size : sizes) fits = fits && tensor.size(axis++) == size;
    require(fits, name, ": expected another shape or dtype. Call the op through fmcompress.ops.");
    require(tensor.is_contiguous(), name, ": expected contiguous rows. Call .contiguous() first.");
    require(tensor.get_device() == beside.get_device(), name, ": expected the device of the other tensors.");
}

// A contiguous matrix of floats or doubles.
inline void check_floats(const Tensor& tensor, const char* name) {
    using torch::headeronly::ScalarType;
    require(tensor.dim() == 2, name, ": expected 2 dimensions, got ", tensor.dim(), ".");
    check_tensor(tensor, name, tensor.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float,
                 {tensor.size(0), tensor.size(1)}, tensor);
}

inline void check_groups(int64_t keep, int64_t group, int64_t cols) {
    require(1 <= keep && keep <= group && cols % group == 0, "pattern ", keep, ":", group,
            ": expected 1 <= keep <= group, and columns that it divides, got ", cols, ".");
}

// The arguments of a step of the ADMM search.
inline void check_step(const Tensor& x, const Tensor& dual, const Tensor& kept, const Tensor& target, double penalty,
                       double next_penalty, int64_t prune, int64_t keep, int64_t group, bool by_row) {
    check_floats(x, "x");
    const int64_t rows = x.size(0), cols = x.size(1), length = by_row ? cols : rows * cols;
    check_tensor(dual, "dual", x.scalar_type(), {rows, cols}, x);
    check_tensor(kept, "kept", torch::headeronly::ScalarType::Bool, {rows, cols}, x);
    check_tensor(target, "target", x.scalar_type(), {rows, cols}, x);
    require(penalty > 0 && next_penalty > 0, "penalty: expected positive numbers, got ", penalty, " and ", next_penalty,
            ".");
    if (group != 0)
        check_groups(keep, group, cols);
    else
        require(0 <= prune && prune <= length, "prune: expected 0 to ", length, ", got ", prune, ".");
}

inline void check_bits(int64_t bits) {
    require(bits == 2 || bits == 3 || bits == 4 || bits == 8, "bits: expected 2, 3, 4 or 8, got ", bits, ".");
}

// A tensor of matrices [rows, cols], or [batch, rows, cols]: one behind the other in memory.
struct Matrices {
    int64_t batch, rows, cols;
    explicit Matrices(const Tensor& tensor)
        : batch(tensor.dim() == 3 ? tensor.size(0) : 1), rows(tensor.size(tensor.dim() - 2)),
          cols(tensor.size(tensor.dim() - 1)) {}
};

// Those of one number a row. A template, since the tensors of the fuzzers have no sizes().
template <class Any> auto sizes_of_rows(const Any& tensor) { return tensor.sizes().slice(0, tensor.dim() - 1); }

// Contiguous matrices, one or as many as the other tensor has.
inline void check_matrices(const Tensor& tensor, const char* name, torch::headeronly::ScalarType dtype, int64_t rows,
                           int64_t cols, const Tensor& beside) {
    if (beside.dim() == 3)
        check_tensor(tensor, name, dtype, {beside.size(0), rows, cols}, beside);
    else
        check_tensor(tensor, name, dtype, {rows, cols}, beside);
}

// The arguments of a sweep; `may_keep_all` where neither a mask nor a group means that nothing is pruned.
inline void check_block(const Tensor& weight, const Tensor& factor, const std::optional<Tensor>& prune, int64_t keep,
                        int64_t group, bool may_keep_all) {
    using torch::headeronly::ScalarType;
    require(weight.dim() == 2 || weight.dim() == 3, "weight: expected 2 or 3 dimensions, got ", weight.dim(), ".");
    const auto [batch, rows, cols] = Matrices(weight);
    check_matrices(weight, "weight",
                   weight.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float, rows, cols,
                   weight);
    require(cols <= 128, "weight: expected at most 128 columns, got ", cols, ".");
    check_matrices(factor, "factor", weight.scalar_type(), cols, cols, weight);
    if (prune)
        check_matrices(*prune, "prune", ScalarType::Bool, rows, cols, weight);
    else if (!may_keep_all || group != 0)
        check_groups(keep, group, cols);
}

// A contiguous matrix of bytes.
inline void check_bytes(const Tensor& tensor, const char* name) {
    require(tensor.dim() == 2, name, ": expected 2 dimensions, got ", tensor.dim(), ".");
    check_tensor(tensor, name, torch::headeronly::ScalarType::Byte, {tensor.size(0), tensor.size(1)}, tensor);
}

// One grid a segment.
inline void check_segment_grids(const Tensor& scale, const Tensor& zero, int64_t segments, const Tensor& beside) {
    using torch::headeronly::ScalarType;
    check_tensor(scale, "scale", scale.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float,
                 {segments}, beside);
    check_tensor(zero, "zero", ScalarType::Byte, {segments}, beside);
}

// One grid a row, or one a weight.
inline void check_grids(const Tensor& weight, const Tensor& scale, const Tensor& zero, int64_t bits) {
    const auto [batch, rows, cols] = Matrices(weight);
    const int64_t grids = scale.dim() == weight.dim() ? scale.size(scale.dim() - 1) : -1;
    require(grids == 1 || grids == cols, "scale: expected one a row or one a weight.");
    check_matrices(scale, "scale", weight.scalar_type(), rows, grids, weight);
    check_matrices(zero, "zero", torch::headeronly::ScalarType::Byte, rows, grids, weight);
    check_bits(bits);
}
