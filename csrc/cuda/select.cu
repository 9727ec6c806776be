// select_smallest and nm_mask on CUDA: the route by the shape, all of it on the current stream without a host sync.
#include "checks.h"
#include "launch.h"
#include "select.cuh"

namespace gpu {
static constexpr int64_t MAX_LENGTH = int64_t(1) << 31; // score and index of a float must fit 64 bits

template <class Scalar>
static void select_tensor(const Tensor& scores, Tensor& mask, int64_t segments, int64_t length, int64_t count) {
    const Route route = route_of(segments, length);
    const int64_t steps = route == Route::grid ? segments * passes_over<Scalar>(length) : 0;
    Tensor histograms = torch::stable::new_zeros(scores, {steps * BINS}, ScalarType::Int);
    Tensor searches = torch::stable::new_empty(scores, {steps * int64_t(sizeof(Search<Scalar>))}, ScalarType::Byte);
    const Scratch<Scalar> scratch{static_cast<uint32_t*>(histograms.data_ptr()),
                                  static_cast<Search<Scalar>*>(searches.data_ptr())};
    select_segments(static_cast<const Scalar*>(scores.data_ptr()), static_cast<bool*>(mask.data_ptr()), segments,
                    length, count, route, scratch, current_stream(scores));
}

static Tensor smallest_of(const Tensor& scores, int64_t length, int64_t count) {
    STD_TORCH_CHECK(length <= MAX_LENGTH, "scores: expected segments of at most 2^31 scores, got ", length);
    const DeviceGuard guard(scores.get_device_index());
    Tensor mask = torch::stable::new_empty(scores, {scores.size(0), scores.size(1)}, ScalarType::Bool);
    if (count == 0 || mask.numel() == 0) return torch::stable::zero_(mask);
    const int64_t segments = mask.numel() / length;
    if (scores.scalar_type() == ScalarType::Double)
        select_tensor<double>(scores, mask, segments, length, count);
    else
        select_tensor<float>(scores, mask, segments, length, count);
    check_launch("select_smallest");
    return mask;
}

static Tensor select_smallest(const Tensor& scores, int64_t count) {
    check_floats(scores, "scores");
    require(0 <= count && count <= scores.size(1), "count: expected 0 to ", scores.size(1), ", got ", count, ".");
    return smallest_of(scores, scores.size(1), count);
}

// A group is a short segment.
static Tensor nm_mask(const Tensor& scores, int64_t keep, int64_t group) {
    check_floats(scores, "scores");
    check_groups(keep, group, scores.size(1));
    return smallest_of(scores, group, group - keep);
}
} // namespace gpu

STABLE_TORCH_LIBRARY_IMPL(fmcompress, CUDA, m) {
    m.impl("select_smallest", TORCH_BOX(&gpu::select_smallest));
    m.impl("nm_mask", TORCH_BOX(&gpu::nm_mask));
}
