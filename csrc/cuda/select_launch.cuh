// The selection of tensors on CUDA, shared by select_smallest, nm_mask and admm_step_: the route by the shape, all of
// it on the current stream without a host sync.
#pragma once
#include "launch.h"
#include "select.cuh"

namespace gpu {
constexpr int64_t MAX_LENGTH = int64_t(1) << 31; // score and index of a float must fit 64 bits

template <class Scalar> static void select_tensor(const Tensor& scores, Tensor& mask, int64_t segments, int64_t length,
                                                  int64_t count, bool by_magnitude) {
    const Route route = route_of(segments, length);
    const int64_t steps = route == Route::grid ? segments * passes_over<Scalar>(length) : 0;
    Tensor histograms = torch::stable::new_zeros(scores, {steps * BINS}, ScalarType::Int);
    Tensor searches = torch::stable::new_empty(scores, {steps * int64_t(sizeof(Search<Scalar>))}, ScalarType::Byte);
    const Scratch<Scalar> scratch{static_cast<uint32_t*>(histograms.data_ptr()),
                                  static_cast<Search<Scalar>*>(searches.data_ptr())};
    select_segments(Scores<Scalar>{static_cast<const Scalar*>(scores.data_ptr()), by_magnitude},
                    static_cast<bool*>(mask.data_ptr()), segments, length, count, route, scratch,
                    current_stream(scores));
}

// The `count` smallest of every `length` neighbours. The device is the current one.
static Tensor smallest_of(const Tensor& scores, int64_t length, int64_t count, bool by_magnitude) {
    STD_TORCH_CHECK(length <= MAX_LENGTH, "scores: expected segments of at most 2^31 scores, got ", length);
    Tensor mask = torch::stable::new_empty(scores, {scores.size(0), scores.size(1)}, ScalarType::Bool);
    if (count == 0 || mask.numel() == 0) return torch::stable::zero_(mask);
    const int64_t segments = mask.numel() / length;
    if (scores.scalar_type() == ScalarType::Double)
        select_tensor<double>(scores, mask, segments, length, count, by_magnitude);
    else
        select_tensor<float>(scores, mask, segments, length, count, by_magnitude);
    return mask;
}
} // namespace gpu
