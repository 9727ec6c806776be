// packed_linear on CUDA, on the current stream and without waiting for it: what mask, starts and places contradict is
// found by the kernels, and makes a row NaN.
#include "launch.h"
#include "packed_checks.h"
#include "packed_mma.cuh"

namespace gpu {
static constexpr int64_t SCRATCH_BYTES = 64 << 20; // of rows that are decoded at a time

// In packed_few_*.cu: they compile side by side.
extern template void few_tokens<float>(const Packed&, const Linear<float>&, Stream);
extern template void few_tokens<Bfloat16>(const Packed&, const Linear<Bfloat16>&, Stream);
extern template void few_tokens<Float16>(const Packed&, const Linear<Float16>&, Stream);
// In packed_mma_*.cu.
extern template void few_tokens_mma<Bfloat16>(const Packed&, const Linear<Bfloat16>&, Stream);
extern template void few_tokens_mma<Float16>(const Packed&, const Linear<Float16>&, Stream);

// Straight from the packed bytes.
template <class Scalar> static void straight(const Packed& weight, const Linear<Scalar>& linear, cudaStream_t stream) {
    if constexpr (!std::is_same_v<Scalar, float>)
        if (fits_mma(weight, linear)) return few_tokens_mma(weight, linear, stream);
    few_tokens(weight, linear, stream);
}

// Decoded to x's dtype and multiplied, some rows at a time.
template <class Scalar> static void many_tokens(const PackedWeight& weight, const Linear<Scalar>& linear,
                                                const Tensor& x, cudaStream_t stream) {
    const int64_t row_bytes = weight.cols * int64_t(sizeof(Scalar));
    const int64_t most = row_bytes > 0 ? std::max<int64_t>(SCRATCH_BYTES / row_bytes / 16 * 16, 16) : weight.rows;
    for (int64_t first = 0; first < weight.rows; first += most) {
        const int64_t some = std::min(most, weight.rows - first);
        if (weight.cols == 0) {
            place_sums(linear, nullptr, weight.rows, first, some, stream);
            continue;
        }
        Tensor rows = torch::stable::new_empty(x, {some, weight.cols});
        decode_rows<Scalar>(Packed(weight), rows.data_ptr(), first, some, stream);
        const Tensor sums = torch::stable::contiguous(torch::stable::matmul(x, torch::stable::transpose(rows, 0, 1)));
        place_sums(linear, sums.data_ptr(), weight.rows, first, some, stream);
    }
}

static Tensor packed_linear(const Tensor& x, const Tensor& entries, const std::optional<Tensor>& bitmask,
                            const std::optional<Tensor>& starts, const std::optional<Tensor>& indices,
                            const std::optional<Tensor>& scale, const std::optional<Tensor>& zero,
                            const std::optional<Tensor>& bias, int64_t bits, int64_t group_size, int64_t keep,
                            int64_t group) {
    require(x.dim() == 2, "x: expected 2 dimensions, got ", x.dim(), ".");
    const Number number = number_of(x, "x");
    const int64_t tokens = x.size(0), cols = x.size(1);
    check_tensor(x, "x", x.scalar_type(), {tokens, cols}, entries);
    const PackedWeight weight =
        packed_weight({entries, bitmask, starts, indices, scale, zero, bits, group_size, keep, group}, cols);
    require(fits_kernels(weight), "entries: expected a smaller weight. Cut it into rows.");
    if (bias) check_tensor(*bias, "bias", x.scalar_type(), {weight.rows}, x);
    const DeviceGuard guard(x.get_device_index());
    const cudaStream_t stream = current_stream(x);
    Tensor out = torch::stable::new_empty(x, {tokens, weight.rows});
    if (out.numel() == 0) return out;
    with_number(number, [&](auto scalar) {
        using Scalar = decltype(scalar);
        const Linear<Scalar> linear(weight, x.data_ptr(), bias ? bias->data_ptr() : nullptr, out.data_ptr(), tokens);
        const bool few = tokens <= MOST_TOKENS && cols > 0 && Packed(weight).regular;
        few ? straight(Packed(weight), linear, stream) : many_tokens(weight, linear, x, stream);
    });
    check_launch("packed_linear");
    return out;
}
} // namespace gpu

STABLE_TORCH_LIBRARY_IMPL(fmcompress, CUDA, m) { m.impl("packed_linear", TORCH_BOX(&gpu::packed_linear)); }
