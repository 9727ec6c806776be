// select_smallest and nm_mask on CUDA.
#include "checks.h"
#include "select_launch.cuh"

namespace gpu {
static Tensor select_smallest(const Tensor& scores, int64_t count, bool by_magnitude) {
    check_floats(scores, "scores");
    require(0 <= count && count <= scores.size(1), "count: expected 0 to ", scores.size(1), ", got ", count, ".");
    const DeviceGuard guard(scores.get_device_index());
    Tensor mask = smallest_of(scores, scores.size(1), count, by_magnitude);
    check_launch("select_smallest");
    return mask;
}

// A group is a short segment.
static Tensor nm_mask(const Tensor& scores, int64_t keep, int64_t group, bool by_magnitude) {
    check_floats(scores, "scores");
    check_groups(keep, group, scores.size(1));
    const DeviceGuard guard(scores.get_device_index());
    Tensor mask = smallest_of(scores, group, group - keep, by_magnitude);
    check_launch("nm_mask");
    return mask;
}
} // namespace gpu

STABLE_TORCH_LIBRARY_IMPL(fmcompress, CUDA, m) {
    m.impl("select_smallest", TORCH_BOX(&gpu::select_smallest));
    m.impl("nm_mask", TORCH_BOX(&gpu::nm_mask));
}
