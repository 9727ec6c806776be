// weighted_sum_ on CUDA: on the current stream, without a host sync.
#include "launch.h"
#include "weighted_sum.cuh"
#include "weighted_sum_checks.h"

namespace gpu {
static Tensor weighted_sum_(Tensor out, const Tensor& sources, const Tensor& weights) {
    const DeviceGuard guard(out.get_device_index());
    Tensor counted = torch::stable::new_zeros(out, {}, ScalarType::Long);
    for_weighted_sum(out, sources, weights, [&](const auto& job) {
        if (job.count == 0) return;
        sum_rows(job.sources, job.weights, job.out, static_cast<unsigned long long*>(counted.data_ptr()), job.rows,
                 job.count, current_stream(out));
    });
    check_launch("weighted_sum_");
    return counted;
}
} // namespace gpu

STABLE_TORCH_LIBRARY_IMPL(fmcompress, CUDA, m) { m.impl("weighted_sum_", TORCH_BOX(&gpu::weighted_sum_)); }
