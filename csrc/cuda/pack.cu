// pack_codes, unpack_codes, pack_bitmask and unpack_bitmask on CUDA, on the current stream; of a bitmask two numbers
// are read back before any value moves, since a count that is wrong would lead out of bounds.
#include "bitmask.cuh"
#include "checks.h"
#include "launch.h"

namespace gpu {
static const uint8_t* bytes_of(const Tensor& tensor) { return static_cast<const uint8_t*>(tensor.data_ptr()); }
static uint8_t* bytes_of(Tensor& tensor) { return static_cast<uint8_t*>(tensor.data_ptr()); }

static Tensor pack_codes(const Tensor& codes, int64_t bits) {
    check_bytes(codes, "codes");
    check_bits(bits);
    const DeviceGuard guard(codes.get_device_index());
    const int64_t rows = codes.size(0), cols = codes.size(1);
    Tensor packed = torch::stable::new_empty(codes, {rows, packed_bytes(cols, int(bits))});
    map_runs<PackCodes>(bytes_of(codes), bytes_of(packed), rows, cols, int(bits), current_stream(codes));
    check_launch("pack_codes");
    return packed;
}

static Tensor unpack_codes(const Tensor& packed, int64_t bits, int64_t cols) {
    check_bytes(packed, "packed");
    check_bits(bits);
    const DeviceGuard guard(packed.get_device_index());
    const int64_t rows = packed.size(0);
    const int64_t bytes = packed_bytes(cols, int(bits));
    require(packed.size(1) == bytes, "packed: expected ", bytes, " bytes a row, got ", packed.size(1), ".");
    Tensor codes = torch::stable::new_empty(packed, {rows, cols});
    map_runs<UnpackCodes>(bytes_of(packed), bytes_of(codes), rows, cols, int(bits), current_stream(packed));
    check_launch("unpack_codes");
    return codes;
}

// The scratch of one call; kept alive by the tensor.
struct Counting {
    Tensor scratch;
    Counts counts;

    Counting(const Tensor& like, MaskShape shape)
        : scratch(torch::stable::new_zeros(like, {Counts::size(shape.blocks())}, ScalarType::Long)),
          counts{static_cast<int64_t*>(scratch.data_ptr()), shape.blocks()} {}

    // How many values the mask keeps, none of them after the last of so many columns. Waits for the stream.
    int64_t kept(int64_t cols, cudaStream_t stream) const {
        int64_t found[2] = {};
        cudaError_t error = cudaMemcpyAsync(found, counts.total(), sizeof found, cudaMemcpyDeviceToHost, stream);
        if (error == cudaSuccess) error = cudaStreamSynchronize(stream);
        STD_TORCH_CHECK(error == cudaSuccess, "bitmask: counting failed: ", cudaGetErrorString(error));
        require(found[1] == 0, "bitmask: expected no bit after the last of ", cols, " columns.");
        return found[0];
    }
};

template <class Value> static void pack_values(const Tensor& values, Tensor& kept, const Tensor& bitmask,
                                               MaskShape shape, Counts counts, cudaStream_t stream) {
    const Sides<Value, true> sides{static_cast<const Value*>(values.data_ptr()), static_cast<Value*>(kept.data_ptr())};
    move_values(sides, bytes_of(bitmask), shape, counts, stream);
}

template <class Value> static void unpack_values(Tensor& dense, const Tensor& kept, const Tensor& bitmask,
                                                 MaskShape shape, Counts counts, cudaStream_t stream) {
    const Sides<Value, false> sides{static_cast<Value*>(dense.data_ptr()), static_cast<const Value*>(kept.data_ptr())};
    move_values(sides, bytes_of(bitmask), shape, counts, stream);
}

// body(a number of the size of a value): which dtype it is does not matter to who moves it.
template <class Body> static void with_value(const Tensor& values, const Body& body) {
    const int64_t bytes = values.element_size();
    require(bytes == 1 || bytes == 2 || bytes == 4, "values: expected a dtype of 1, 2 or 4 bytes, got ", bytes, ".");
    if (bytes == 1) body(uint8_t());
    if (bytes == 2) body(uint16_t());
    if (bytes == 4) body(uint32_t());
}

static std::tuple<Tensor, Tensor> pack_bitmask(const Tensor& values, const Tensor& mask, int64_t count) {
    CHECK_LAYOUT(values);
    check_tensor(mask, "mask", ScalarType::Bool, {values.size(0), values.size(1)}, values);
    const DeviceGuard guard(values.get_device_index());
    const MaskShape shape{mask.size(0), mask.size(1)};
    const cudaStream_t stream = current_stream(values);
    Tensor bitmask = torch::stable::new_empty(values, {shape.rows, shape.row_bytes()}, ScalarType::Byte);
    const Counting counting(values, shape);
    if (shape.words() > 0)
        mark_mask(static_cast<const bool*>(mask.data_ptr()), bytes_of(bitmask), shape, counting.counts, stream);
    const int64_t keeps = counting.kept(shape.cols, stream);
    require(keeps == count, "count: expected ", keeps, ", the number of True in mask, got ", count, ".");
    Tensor kept = torch::stable::new_empty(values, {count});
    if (count > 0)
        with_value(values, [&](auto value) {
            pack_values<decltype(value)>(values, kept, bitmask, shape, counting.counts, stream);
        });
    check_launch("pack_bitmask");
    return {bitmask, kept};
}

static Tensor unpack_bitmask(const Tensor& bitmask, const Tensor& kept, int64_t cols) {
    check_bytes(bitmask, "bitmask");
    CHECK_LAYOUT(kept);
    require(cols >= 0 && kept.dim() == 1, "kept: expected 1 dimension, got ", kept.dim(), ".");
    require(kept.get_device() == bitmask.get_device(), "kept: expected the device of the bitmask.");
    const DeviceGuard guard(bitmask.get_device_index());
    const MaskShape shape{bitmask.size(0), cols};
    const int64_t bytes = shape.row_bytes();
    require(bitmask.size(1) == bytes, "bitmask: expected ", bytes, " bytes a row, got ", bitmask.size(1), ".");
    const cudaStream_t stream = current_stream(bitmask);
    Tensor dense = torch::stable::new_empty(kept, {shape.rows, cols});
    const Counting counting(bitmask, shape);
    if (shape.words() > 0) count_bitmask(bytes_of(bitmask), shape, counting.counts, stream);
    const int64_t counts = counting.kept(cols, stream), got = kept.size(0);
    require(counts == got, "kept: the bitmask counts ", counts, " values of ", cols, " columns a row, got ", got, ".");
    if (shape.words() > 0)
        with_value(kept, [&](auto value) {
            unpack_values<decltype(value)>(dense, kept, bitmask, shape, counting.counts, stream);
        });
    check_launch("unpack_bitmask");
    return dense;
}
} // namespace gpu

STABLE_TORCH_LIBRARY_IMPL(fmcompress, CUDA, m) {
    m.impl("pack_codes", TORCH_BOX(&gpu::pack_codes));
    m.impl("unpack_codes", TORCH_BOX(&gpu::unpack_codes));
    m.impl("pack_bitmask", TORCH_BOX(&gpu::pack_bitmask));
    m.impl("unpack_bitmask", TORCH_BOX(&gpu::unpack_bitmask));
}
