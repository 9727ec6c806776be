// search_grid, quantize and dequantize on CUDA: one launch each on the current stream.
#include "checks.h"
#include "grid.cuh"
#include "launch.h"

namespace gpu {
template <class Scalar>
static void search_tensor(const Tensor& weight, Tensor& scale, Tensor& zero, const GridSearch& search) {
    search_segments(static_cast<const Scalar*>(weight.data_ptr()), static_cast<Scalar*>(scale.data_ptr()),
                    static_cast<uint8_t*>(zero.data_ptr()), weight.size(0), search, current_stream(weight));
}

static std::tuple<Tensor, Tensor> search_grid(const Tensor& weight, int64_t bits, bool symmetric, int64_t candidates) {
    check_floats(weight, "weight");
    check_bits(bits);
    require(weight.size(1) >= 1 && candidates >= 1 && candidates <= 1000, "weight: expected a column and a candidate.");
    const DeviceGuard guard(weight.get_device_index());
    Tensor scale = torch::stable::new_empty(weight, {weight.size(0)});
    Tensor zero = torch::stable::new_empty(weight, {weight.size(0)}, ScalarType::Byte);
    const GridSearch search{weight.size(1), int(bits), int(candidates), symmetric};
    if (weight.scalar_type() == ScalarType::Double)
        search_tensor<double>(weight, scale, zero, search);
    else
        search_tensor<float>(weight, scale, zero, search);
    check_launch("search_grid");
    return {scale, zero};
}

template <class Scalar>
static void quantize_tensor(const Tensor& weight, const Tensor& scale, const Tensor& zero, Tensor& codes, int bits) {
    quantize_segments(static_cast<const Scalar*>(weight.data_ptr()), static_cast<const Scalar*>(scale.data_ptr()),
                      static_cast<const uint8_t*>(zero.data_ptr()), static_cast<uint8_t*>(codes.data_ptr()),
                      weight.size(0), weight.size(1), bits, current_stream(weight));
}

static Tensor quantize(const Tensor& weight, const Tensor& scale, const Tensor& zero, int64_t bits) {
    check_floats(weight, "weight");
    check_segment_grids(scale, zero, weight.size(0), weight);
    require(scale.scalar_type() == weight.scalar_type(), "scale: expected the dtype of weight.");
    check_bits(bits);
    const DeviceGuard guard(weight.get_device_index());
    Tensor codes = torch::stable::new_empty(weight, {weight.size(0), weight.size(1)}, ScalarType::Byte);
    if (weight.scalar_type() == ScalarType::Double)
        quantize_tensor<double>(weight, scale, zero, codes, int(bits));
    else
        quantize_tensor<float>(weight, scale, zero, codes, int(bits));
    check_launch("quantize");
    return codes;
}

template <class Scalar>
static void dequantize_tensor(const Tensor& codes, const Tensor& scale, const Tensor& zero, Tensor& weight) {
    dequantize_segments(static_cast<const uint8_t*>(codes.data_ptr()), static_cast<const Scalar*>(scale.data_ptr()),
                        static_cast<const uint8_t*>(zero.data_ptr()), static_cast<Scalar*>(weight.data_ptr()),
                        codes.size(0), codes.size(1), current_stream(codes));
}

static Tensor dequantize(const Tensor& codes, const Tensor& scale, const Tensor& zero) {
    check_bytes(codes, "codes");
    check_segment_grids(scale, zero, codes.size(0), codes);
    const DeviceGuard guard(codes.get_device_index());
    Tensor weight = torch::stable::new_empty(scale, {codes.size(0), codes.size(1)});
    if (scale.scalar_type() == ScalarType::Double)
        dequantize_tensor<double>(codes, scale, zero, weight);
    else
        dequantize_tensor<float>(codes, scale, zero, weight);
    check_launch("dequantize");
    return weight;
}
} // namespace gpu

STABLE_TORCH_LIBRARY_IMPL(fmcompress, CUDA, m) {
    m.impl("search_grid", TORCH_BOX(&gpu::search_grid));
    m.impl("quantize", TORCH_BOX(&gpu::quantize));
    m.impl("dequantize", TORCH_BOX(&gpu::dequantize));
}
