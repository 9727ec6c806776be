// packed_linear on the CPU: few tokens straight from the packed rows, many by decoding some rows at a time for a
// product.
#include <numeric>

#include <torch/csrc/stable/library.h>
#include <torch/headeronly/core/ScalarType.h>

#include "isa.h"
#include "packed_checks.h"
#include "packed_rows.h"

using torch::headeronly::ScalarType;

namespace baseline {
#include "expand-inl.h"
#include "packed_decode-inl.h"
#include "packed_row-inl.h"

// Rows are always decoded first.
struct DotBuffers {};
static bool dots_straight(const PackedWeight&) { return false; }
static int64_t laid_out_size(const PackedWeight& weight) { return weight.cols; }
static void lay_out_token(const PackedWeight&, const float*, float*) {}
static void dot_row(const PackedWeight&, const Row&, const float*, int64_t, int, DotBuffers&, float*) {}
#include "packed_rows-inl.h"
} // namespace baseline

#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("avx2,fma,bmi,bmi2,f16c,popcnt")
namespace avx2 {
#include "expand-inl.h"
#include "packed_decode-inl.h"
#include "packed_row-inl.h"
#include "packed_dot-inl.h"
#include "packed_rows-inl.h"
} // namespace avx2
#pragma GCC pop_options

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized" // of the intrinsics of GCC 12
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC push_options
#pragma GCC target(                                                                                                    \
    "avx2,fma,bmi,bmi2,f16c,popcnt,avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vbmi2,avx512vpopcntdq")
namespace avx512 {
using avx2::expand8;
#include "expand-inl.h"
#include "packed_decode-inl.h"
#include "packed_row-inl.h"
#include "packed_dot-inl.h"
#include "packed_rows-inl.h"
} // namespace avx512
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target(                                                                                                    \
    "avx2,fma,bmi,bmi2,f16c,popcnt,avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vbmi2,avx512vpopcntdq,avx512bf16")
namespace avx512bf16 {
#include "packed_row-inl.h"
#include "expand-inl.h"
#include "packed_decode-inl.h"
#include "packed_dot-inl.h"
#include "packed_rows-inl.h"
} // namespace avx512bf16
#pragma GCC pop_options
#pragma GCC diagnostic pop
#endif

static void few_tokens_on(const Product& product) {
#if defined(__x86_64__)
    if (current_isa() == Isa::avx512bf16 && product.number == Number::bfloat16 && avx512bf16::serves(product.weight))
        return avx512bf16::few_tokens(product);
#endif
    WIDEST_FOR_THIS_CPU(few_tokens)(product);
}

static constexpr int64_t TILE_BYTES = 1 << 21; // decoded for one product, to stay in the cache

// Columns begin .. of out, from sums [tokens, count] in their own dtype, and the bias added.
template <class Value, class ToFloat, class FromFloat>
static void put_tile(const Product& product, const Value* sums, int64_t begin, int64_t count, const ToFloat& to_float,
                     const FromFloat& from_float) {
    auto* out = static_cast<Value*>(product.out) + begin;
    const auto* bias = product.bias ? static_cast<const Value*>(product.bias) + begin : nullptr;
    for (int64_t t = 0; t < product.tokens; ++t, out += product.weight.rows, sums += count)
        if (bias)
            for (int64_t r = 0; r < count; ++r) out[r] = from_float(to_float(sums[r]) + to_float(bias[r]));
        else
            memcpy(out, sums, count * sizeof *out);
}

static void put_tile(const Product& product, const Tensor& sums, int64_t begin) {
    const int64_t count = sums.size(1);
    const void* from = sums.data_ptr();
    const auto same = [](float value) { return value; };
    if (product.number == Number::float32)
        put_tile(product, static_cast<const float*>(from), begin, count, same, same);
    else if (product.number == Number::bfloat16)
        put_tile(product, static_cast<const uint16_t*>(from), begin, count, from_bfloat16, to_bfloat16);
    else // the sums are floats
        for (int64_t t = 0; t < product.tokens; ++t)
            for (int64_t r = 0; r < count; ++r)
                product.put(t, begin + r, static_cast<const float*>(from)[t * count + r]);
}

// A product of decoded rows, in bfloat16 where x is and in float32 otherwise: float16 products are slow on a CPU.
static void many_tokens(const Product& product, const Tensor& x) {
    const PackedWeight& weight = product.weight;
    const bool halves = product.number == Number::bfloat16;
    const ScalarType type = halves ? ScalarType::BFloat16 : ScalarType::Float;
    const Tensor inputs = product.number == Number::float16 ? torch::stable::to(x, type) : x;
    const int64_t row_bytes = std::max<int64_t>(1, weight.cols * (halves ? 2 : 4));
    const int64_t step = std::max<int64_t>(16, TILE_BYTES / row_bytes / 16 * 16);
    const auto decode_rows = WIDEST_FOR_THIS_CPU(decode_rows);
    Tensor tile = torch::stable::new_empty(inputs, {std::min(step, weight.rows), weight.cols}, type);
    for (int64_t begin = 0; begin < weight.rows; begin += step) {
        const int64_t count = std::min(weight.rows - begin, step);
        decode_rows(weight, begin, begin + count, halves, tile.data_ptr());
        const Tensor rows = torch::stable::narrow(tile, 0, 0, count);
        const Tensor sums = torch::stable::matmul(inputs, torch::stable::transpose(rows, 0, 1));
        put_tile(product, torch::stable::contiguous(sums), begin);
    }
}

Tensor packed_linear(const Tensor& x, const Tensor& entries, const std::optional<Tensor>& bitmask,
                     const std::optional<Tensor>& starts, const std::optional<Tensor>& indices,
                     const std::optional<Tensor>& scale, const std::optional<Tensor>& zero,
                     const std::optional<Tensor>& bias, int64_t bits, int64_t group_size, int64_t keep, int64_t group) {
    require(x.dim() == 2, "x: expected 2 dimensions, got ", x.dim(), ".");
    const Number number = number_of(x, "x");
    const int64_t tokens = x.size(0), cols = x.size(1);
    check_tensor(x, "x", x.scalar_type(), {tokens, cols}, entries);
    const PackedWeight weight =
        packed_weight({entries, bitmask, starts, indices, scale, zero, bits, group_size, keep, group}, cols);
    if (bias) check_tensor(*bias, "bias", x.scalar_type(), {weight.rows}, x);
    Tensor out = torch::stable::new_empty(x, {tokens, weight.rows});
    const Product product{weight, x.data_ptr(), bias ? bias->data_ptr() : nullptr, out.data_ptr(), number, tokens};
    if (tokens <= FEW_TOKENS)
        few_tokens_on(product);
    else
        many_tokens(product, x);
    return out;
}

STABLE_TORCH_LIBRARY_IMPL(fmcompress, CPU, m) { m.impl("packed_linear", TORCH_BOX(&packed_linear)); }
