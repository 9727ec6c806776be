// CocktailSGD's compression on CUDA, on the current stream and without waiting for it: where a mask has another number
// of bits than the layout says, the kernels take no more than it says.
#include "cocktail_checks.h"
#include "cocktail_launch.cuh"
#include "launch.h"

namespace gpu {
static Numbers numbers_of(const Tensor& tensor, const char* name) {
    return {tensor.data_ptr(), number_of(tensor, name), tensor.numel()};
}

static Numbers numbers_of(const std::optional<Tensor>& residual, int64_t numel, const Tensor& beside) {
    check_residual(residual, numel, beside);
    return residual ? numbers_of(*residual, "residual") : Numbers{nullptr, Number::float32, 0};
}

static CocktailLayout fitting(const CocktailLayout& layout) {
    require(layout.sampled <= 0x7fffffff, "sampled: expected less than 2^31 blocks, got ", layout.sampled, ".");
    return layout;
}

static void check_memory(cudaError_t error, const char* op) {
    STD_TORCH_CHECK(error == cudaSuccess, op, ": ", cudaGetErrorString(error));
}

template <class Source>
static Tensor compressed(const Source& source, const CocktailLayout& layout, const Tensor& beside, const char* op) {
    const DeviceGuard guard(beside.get_device_index());
    const cudaStream_t stream = current_stream(beside);
    Tensor payload = torch::stable::new_empty(beside, {layout.payload_bytes()}, ScalarType::Byte);
    auto* words = static_cast<uint32_t*>(payload.data_ptr());
    check_memory(cudaMemsetAsync(words, 0, COCKTAIL_HEADER_BYTES, stream), op);
    compress(source, layout, words, stream);
    check_launch(op);
    return payload;
}

static Tensor compress_gradient_(const Tensor& gradient, std::optional<Tensor> residual, double scale, int64_t seed,
                                 int64_t step, int64_t stream, int64_t block, int64_t sampled, int64_t kept,
                                 int64_t bits, int64_t group, bool symmetric) {
    const CocktailLayout layout =
        fitting(cocktail_layout(gradient.numel(), seed, step, stream, block, sampled, kept, bits, group, symmetric));
    check_tensor(gradient, "gradient", gradient.scalar_type(), {layout.numel}, gradient);
    const GradientSource source{numbers_of(gradient, "gradient"), numbers_of(residual, layout.numel, gradient),
                                static_cast<float>(scale)};
    return compressed(source, layout, gradient, "compress_gradient_");
}

static Tensor compress_delta_(const Tensor& local, const Tensor& shared, int64_t seed, int64_t step, int64_t stream,
                              int64_t block, int64_t sampled, int64_t kept, int64_t bits, int64_t group,
                              bool symmetric) {
    const CocktailLayout layout =
        fitting(cocktail_layout(local.numel(), seed, step, stream, block, sampled, kept, bits, group, symmetric));
    check_tensor(local, "local", local.scalar_type(), {layout.numel}, local);
    check_tensor(shared, "shared", shared.scalar_type(), {layout.numel}, local);
    const DeltaSource source{numbers_of(local, "local"), numbers_of(shared, "shared")};
    return compressed(source, layout, local, "compress_delta_");
}

static Tensor compress_mean_(const Tensor& payloads, std::optional<Tensor> residual, int64_t numel, int64_t seed,
                             int64_t step, int64_t stream, int64_t block, int64_t sampled, int64_t kept, int64_t bits,
                             int64_t group, bool symmetric) {
    const CocktailLayout layout =
        fitting(cocktail_layout(numel, seed, step, stream, block, sampled, kept, bits, group, symmetric));
    require(payloads.dim() == 2 && payloads.size(0) >= 1, "payloads: expected one or more rows.");
    const int64_t workers = payloads.size(0);
    check_tensor(payloads, "payloads", ScalarType::Byte, {workers, layout.payload_bytes()}, payloads);
    const MeanSource source{static_cast<const uint8_t*>(payloads.data_ptr()), workers,
                            numbers_of(residual, numel, payloads)};
    return compressed(source, layout, payloads, "compress_mean_");
}

static void add_payload_(const Tensor& payload, const Tensor& out, double scale, int64_t seed, int64_t step,
                         int64_t stream, int64_t block, int64_t sampled, int64_t kept, int64_t bits, int64_t group,
                         bool symmetric) {
    const CocktailLayout layout =
        fitting(cocktail_layout(out.numel(), seed, step, stream, block, sampled, kept, bits, group, symmetric));
    check_tensor(out, "out", out.scalar_type(), {layout.numel}, payload);
    check_tensor(payload, "payload", ScalarType::Byte, {layout.payload_bytes()}, payload);
    const DeviceGuard guard(out.get_device_index());
    add_payload(static_cast<const uint8_t*>(payload.data_ptr()), numbers_of(out, "out"), layout,
                static_cast<float>(scale), current_stream(out));
    check_launch("add_payload_");
}

static Tensor payload_checksum(const Tensor& payload) {
    const int64_t bytes = payload.numel();
    check_tensor(payload, "payload", ScalarType::Byte, {bytes}, payload);
    require(bytes >= COCKTAIL_HEADER_BYTES && bytes % 4 == 0, "payload: expected a header and whole words, got ", bytes,
            " bytes.");
    const DeviceGuard guard(payload.get_device_index());
    Tensor sum = torch::stable::new_zeros(payload, {1}, ScalarType::Long);
    checksum(static_cast<const uint8_t*>(payload.data_ptr()), bytes, static_cast<unsigned long long*>(sum.data_ptr()),
             current_stream(payload));
    check_launch("payload_checksum");
    return sum;
}
} // namespace gpu

STABLE_TORCH_LIBRARY_IMPL(fmcompress, CUDA, m) {
    m.impl("compress_gradient_", TORCH_BOX(&gpu::compress_gradient_));
    m.impl("compress_delta_", TORCH_BOX(&gpu::compress_delta_));
    m.impl("compress_mean_", TORCH_BOX(&gpu::compress_mean_));
    m.impl("add_payload_", TORCH_BOX(&gpu::add_payload_));
    m.impl("payload_checksum", TORCH_BOX(&gpu::payload_checksum));
}
