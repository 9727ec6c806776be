// search_grid, quantize and dequantize on the CPU: segments over threads.
#include <algorithm>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/headeronly/core/ScalarType.h>

#include "checks.h"
#include "grid.h"
#include "isa.h"
#include "ops.h"

using torch::headeronly::ScalarType;

namespace baseline {
#define LANE_BYTES 16
#include "vector-inl.h"
#include "grid-inl.h"
#undef LANE_BYTES
} // namespace baseline

#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("avx2,fma")
namespace avx2 {
#define LANE_BYTES 32
#include "vector-inl.h"
#include "grid-inl.h"
#undef LANE_BYTES
} // namespace avx2
#pragma GCC pop_options
#endif

// Segments begin .. end on some thread; `weights` of work each, counted as divisions.
template <class Body> static void for_segments(int64_t segments, int64_t weights, const Body& body) {
    constexpr int64_t worth_a_thread = 1 << 15;
    torch::stable::parallel_for(0, segments, 1 + worth_a_thread / (weights + 1), [&](int64_t begin, int64_t end) {
        for (int64_t s = begin; s < end; ++s) body(s);
    });
}

template <class Scalar>
static void search_all(const Tensor& weight, Tensor& scale, Tensor& zero, int bits, bool symmetric, int candidates) {
    const int64_t length = weight.size(1);
    const auto* in = static_cast<const Scalar*>(weight.data_ptr());
    auto* scales = static_cast<Scalar*>(scale.data_ptr());
    auto* zeros = static_cast<uint8_t*>(zero.data_ptr());
    const auto search = FOR_THIS_CPU(search_segment<Scalar>);
    for_segments(weight.size(0), length * candidates, [=](int64_t s) {
        const Grid<Scalar> grid = search(in + s * length, length, bits, symmetric, candidates);
        scales[s] = grid.scale;
        zeros[s] = static_cast<uint8_t>(grid.zero);
    });
}

std::tuple<Tensor, Tensor> search_grid(const Tensor& weight, int64_t bits, bool symmetric, int64_t candidates) {
    check_floats(weight, "weight");
    check_bits(bits);
    require(weight.size(1) >= 1 && candidates >= 1 && candidates <= 1000, "weight: expected a column and a candidate.");
    Tensor scale = torch::stable::new_empty(weight, {weight.size(0)});
    Tensor zero = torch::stable::new_empty(weight, {weight.size(0)}, ScalarType::Byte);
    if (weight.scalar_type() == ScalarType::Double)
        search_all<double>(weight, scale, zero, static_cast<int>(bits), symmetric, static_cast<int>(candidates));
    else
        search_all<float>(weight, scale, zero, static_cast<int>(bits), symmetric, static_cast<int>(candidates));
    return {scale, zero};
}

// The grid of each segment.
template <class Scalar> struct Grids {
    const Scalar* scale;
    const uint8_t* zero;
    Grids(const Tensor& scale, const Tensor& zero)
        : scale(static_cast<const Scalar*>(scale.data_ptr())), zero(static_cast<const uint8_t*>(zero.data_ptr())) {}
    Grid<Scalar> operator[](int64_t s) const { return {scale[s], static_cast<Scalar>(zero[s])}; }
};

template <class Scalar> static void quantize_all(const Tensor& weight, Grids<Scalar> grids, Tensor& codes, int bits) {
    const int64_t length = weight.size(1);
    const auto* in = static_cast<const Scalar*>(weight.data_ptr());
    auto* out = static_cast<uint8_t*>(codes.data_ptr());
    const auto top = static_cast<Scalar>((1 << bits) - 1);
    const auto quantize = FOR_THIS_CPU(quantize_segment<Scalar>);
    for_segments(weight.size(0), length,
                 [=](int64_t s) { quantize(in + s * length, out + s * length, length, grids[s], top); });
}

Tensor quantize(const Tensor& weight, const Tensor& scale, const Tensor& zero, int64_t bits) {
    check_floats(weight, "weight");
    check_segment_grids(scale, zero, weight.size(0), weight);
    require(scale.scalar_type() == weight.scalar_type(), "scale: expected the dtype of weight.");
    check_bits(bits);
    Tensor codes = torch::stable::new_empty(weight, {weight.size(0), weight.size(1)}, ScalarType::Byte);
    if (weight.scalar_type() == ScalarType::Double)
        quantize_all<double>(weight, {scale, zero}, codes, static_cast<int>(bits));
    else
        quantize_all<float>(weight, {scale, zero}, codes, static_cast<int>(bits));
    return codes;
}

template <class Scalar> static void dequantize_all(const Tensor& codes, Grids<Scalar> grids, Tensor& weight) {
    const int64_t length = codes.size(1);
    const auto* in = static_cast<const uint8_t*>(codes.data_ptr());
    auto* out = static_cast<Scalar*>(weight.data_ptr());
    const auto dequantize = FOR_THIS_CPU(dequantize_segment<Scalar>);
    for_segments(codes.size(0), length,
                 [=](int64_t s) { dequantize(in + s * length, out + s * length, length, grids[s]); });
}

Tensor dequantize(const Tensor& codes, const Tensor& scale, const Tensor& zero) {
    check_bytes(codes, "codes");
    check_segment_grids(scale, zero, codes.size(0), codes);
    Tensor weight = torch::stable::new_empty(scale, {codes.size(0), codes.size(1)});
    if (scale.scalar_type() == ScalarType::Double)
        dequantize_all<double>(codes, {scale, zero}, weight);
    else
        dequantize_all<float>(codes, {scale, zero}, weight);
    return weight;
}

STABLE_TORCH_LIBRARY_IMPL(fmcompress, CPU, m) {
    m.impl("search_grid", TORCH_BOX(&search_grid));
    m.impl("quantize", TORCH_BOX(&quantize));
    m.impl("dequantize", TORCH_BOX(&dequantize));
}
