// sweep_block_ on CUDA: one launch a block on the current stream.
#include "checks.h"
#include "launch.h"
#include "sweep.cuh"

namespace gpu {
template <class Scalar> static void sweep_tensors(Tensor& weight, const Tensor& factor, const bool* prune, Tensor& loss,
                                                  int64_t keep, int64_t group) {
    const auto [batch, rows, cols] = Matrices(weight);
    sweep_rows(Pruning<Scalar>(), static_cast<Scalar*>(weight.data_ptr()),
               static_cast<const Scalar*>(factor.data_ptr()), prune, static_cast<Scalar*>(loss.data_ptr()), batch, rows,
               int(cols), int(keep), int(group), current_stream(weight));
}

static Tensor sweep_block_(Tensor weight, const Tensor& factor, const std::optional<Tensor>& prune, int64_t keep,
                           int64_t group) {
    check_block(weight, factor, prune, keep, group, false);
    const DeviceGuard guard(weight.get_device_index());
    const bool* mask = prune ? static_cast<const bool*>(prune->data_ptr()) : nullptr;
    Tensor loss = torch::stable::new_empty(weight, sizes_of_rows(weight));
    if (weight.scalar_type() == ScalarType::Double)
        sweep_tensors<double>(weight, factor, mask, loss, keep, group);
    else
        sweep_tensors<float>(weight, factor, mask, loss, keep, group);
    check_launch("sweep_block_");
    return loss;
}
} // namespace gpu

STABLE_TORCH_LIBRARY_IMPL(fmcompress, CUDA, m) { m.impl("sweep_block_", TORCH_BOX(&gpu::sweep_block_)); }
