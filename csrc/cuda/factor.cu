// factor_block on CUDA: one launch for all matrices on the current stream, without a host sync.
#include "factor_checks.h"
#include "factor.cuh"
#include "launch.h"

namespace gpu {
template <class Scalar>
static void factor_tensors(const Tensor& symmetric, Tensor& upper, Tensor& inverse, Tensor& failed) {
    factor_matrices(static_cast<const Scalar*>(symmetric.data_ptr()), static_cast<Scalar*>(upper.data_ptr()),
                    static_cast<Scalar*>(inverse.data_ptr()), static_cast<int32_t*>(failed.data_ptr()), failed.numel(),
                    int(symmetric.size(symmetric.dim() - 1)), current_stream(symmetric));
}

static std::tuple<Tensor, Tensor, Tensor> factor_block(const Tensor& symmetric) {
    check_small_squares(symmetric);
    const DeviceGuard guard(symmetric.get_device_index());
    auto [upper, inverse, failed] = new_factors(symmetric);
    const auto run = symmetric.scalar_type() == ScalarType::Double ? factor_tensors<double> : factor_tensors<float>;
    run(symmetric, upper, inverse, failed);
    check_launch("factor_block");
    return {upper, inverse, failed};
}
} // namespace gpu

STABLE_TORCH_LIBRARY_IMPL(fmcompress, CUDA, m) { m.impl("factor_block", TORCH_BOX(&gpu::factor_block)); }
