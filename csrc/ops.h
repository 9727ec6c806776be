// Every native op in one place. All tensors are contiguous; shapes and values were checked in fmcompress/_ops.py.
#pragma once
#include <optional>
#include <torch/csrc/stable/tensor.h>

using torch::stable::Tensor;

#define CHECK_LAYOUT(tensor)                                                                                           \
    STD_TORCH_CHECK((tensor).is_contiguous(), #tensor ": expected contiguous rows. Call .contiguous() first.")

// scores [segments, length] float|double, count -> [segments, length] bool, exactly count true in each segment
Tensor select_smallest(const Tensor& scores, int64_t count);

// scores [rows, cols] float|double -> [rows, cols] bool, group - keep true in each group
Tensor nm_mask(const Tensor& scores, int64_t keep, int64_t group);

// weight [rows, cols <= 128] float|double, changed; factor [cols, cols]; prune [rows, cols] bool or none
// -> [rows] sum of squared errors
Tensor sweep_block_(Tensor weight, const Tensor& factor, const std::optional<Tensor>& prune, int64_t keep,
                    int64_t group);
