// admm_step_ on CUDA: on the current stream, without a host sync.
#include "admm.cuh"
#include "checks.h"
#include "select_launch.cuh"

namespace gpu {
struct Choice {
    int64_t length, prune; // so many of every `length` neighbours go
};

template <class Scalar> static void step_tensors(Tensor& x, Tensor& dual, Tensor& kept, const Tensor& target,
                                                 double penalty, double next_penalty, Choice choice, Tensor& changed) {
    const auto step =
        AdmmStep<Scalar>::of(x.data_ptr(), dual.data_ptr(), kept.data_ptr(), target.data_ptr(), penalty, next_penalty);
    write_values(step, x.numel(), current_stream(x));
    const Tensor pruned = smallest_of(dual, choice.length, choice.prune, true);
    project(step, static_cast<const bool*>(pruned.data_ptr()), static_cast<unsigned long long*>(changed.data_ptr()),
            x.numel(), current_stream(x));
}

static Tensor admm_step_(Tensor x, Tensor dual, Tensor kept, const Tensor& target, double penalty, double next_penalty,
                         int64_t prune, int64_t keep, int64_t group, bool by_row) {
    check_step(x, dual, kept, target, penalty, next_penalty, prune, keep, group, by_row);
    const DeviceGuard guard(x.get_device_index());
    Tensor changed = torch::stable::new_zeros(x, {}, ScalarType::Long);
    if (x.numel() == 0) return changed;
    const Choice choice = group ? Choice{group, group - keep} : Choice{by_row ? x.size(1) : x.numel(), prune};
    const auto step = x.scalar_type() == ScalarType::Double ? step_tensors<double> : step_tensors<float>;
    step(x, dual, kept, target, penalty, next_penalty, choice, changed);
    check_launch("admm_step_");
    return changed;
}
} // namespace gpu

STABLE_TORCH_LIBRARY_IMPL(fmcompress, CUDA, m) { m.impl("admm_step_", TORCH_BOX(&gpu::admm_step_)); }
