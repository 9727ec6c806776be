// joint_sweep_block_ on CUDA: one launch a block on the current stream. A file of its own, so that its kernels compile
// beside those of sweep.cu.
#include "joint.cuh"
#include "checks.h"
#include "launch.h"

namespace gpu {
template <class Scalar> static void sweep_tensors(Tensor& weight, const Tensor& factor, const bool* prune,
                                                  const Tensor& scale, const Tensor& zero, Tensor& loss, Tensor& codes,
                                                  int bits, int keep, int group) {
    const Rounding<Scalar> rounding{
        static_cast<const Scalar*>(scale.data_ptr()), static_cast<const uint8_t*>(zero.data_ptr()),
        static_cast<uint8_t*>(codes.data_ptr()), Matrices(scale).cols > 1, Scalar((1 << bits) - 1)};
    const auto [batch, rows, cols] = Matrices(weight);
    sweep_rows(rounding, static_cast<Scalar*>(weight.data_ptr()), static_cast<const Scalar*>(factor.data_ptr()), prune,
               static_cast<Scalar*>(loss.data_ptr()), batch, rows, int(cols), keep, group, current_stream(weight));
}

static std::tuple<Tensor, Tensor> joint_sweep_block_(Tensor weight, const Tensor& factor,
                                                     const std::optional<Tensor>& prune, const Tensor& scale,
                                                     const Tensor& zero, int64_t bits, int64_t keep, int64_t group) {
    check_block(weight, factor, prune, keep, group, true);
    check_grids(weight, scale, zero, bits);
    const DeviceGuard guard(weight.get_device_index());
    const bool* mask = prune ? static_cast<const bool*>(prune->data_ptr()) : nullptr;
    Tensor loss = torch::stable::new_empty(weight, sizes_of_rows(weight));
    Tensor codes = torch::stable::new_empty(weight, weight.sizes(), ScalarType::Byte);
    const auto sweep = weight.scalar_type() == ScalarType::Double ? sweep_tensors<double> : sweep_tensors<float>;
    sweep(weight, factor, mask, scale, zero, loss, codes, int(bits), int(keep), int(group));
    check_launch("joint_sweep_block_");
    return {loss, codes};
}
} // namespace gpu

STABLE_TORCH_LIBRARY_IMPL(fmcompress, CUDA, m) { m.impl("joint_sweep_block_", TORCH_BOX(&gpu::joint_sweep_block_)); }
