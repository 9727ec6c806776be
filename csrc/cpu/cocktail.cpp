// CocktailSGD's compression on the CPU: blocks or strata over threads. A product and a sum must not become one
// operation with one rounding, or the bytes would depend on the instruction set.
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#else
#pragma GCC optimize("fp-contract=off")
#endif
#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <type_traits>

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/headeronly/core/ScalarType.h>

#include "cocktail_checks.h"
#include "cocktail_isa.h"
#include "cocktail_jobs.h"
#include "codes.h"
#include "isa.h"

using torch::headeronly::ScalarType;

namespace baseline {
#include "cocktail_select-inl.h"
#include "cocktail_block-inl.h"
#include "cocktail_numbers-inl.h"
#include "cocktail_tensor-inl.h"
} // namespace baseline

#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("avx2,fma,popcnt,bmi")
namespace avx2 {
#include "cocktail_select-inl.h"
#include "cocktail_block-inl.h"
#include "cocktail_numbers-inl.h"
#include "cocktail_tensor-inl.h"
} // namespace avx2
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2,fma,popcnt,bmi,avx512f,avx512bw,avx512vl,avx512dq")
namespace avx512 {
#include "cocktail_select-inl.h"
#include "cocktail_block-inl.h"
#include "cocktail_numbers-inl.h"
#include "cocktail_tensor-inl.h"
} // namespace avx512
#pragma GCC pop_options
#endif

// Of elements, and of bytes that are only read. Where cores are busy elsewhere, to wait for threads costs milliseconds.
static constexpr int64_t WORTH_A_THREAD = 1 << 15, BYTES_WORTH_A_THREAD = 1 << 21;

static Numbers numbers_of(const Tensor& tensor, const char* name) {
    return {tensor.data_ptr(), number_of(tensor, name)};
}

static Numbers numbers_of(const std::optional<Tensor>& tensor, const char* name) {
    return tensor ? numbers_of(*tensor, name) : Numbers{nullptr, Number::float32};
}

// body(begin, end), on several threads.
template <class Body> static void for_blocks(int64_t blocks, const CocktailLayout& layout, const Body& body) {
    torch::stable::parallel_for(0, blocks, std::max<int64_t>(1, WORTH_A_THREAD / layout.block), body);
}

static uint32_t checksum_of(const uint8_t* payload, int64_t words) {
    std::atomic<uint64_t> sum{0};
    const auto weighted_words = WIDEST_FOR_THIS_CPU(weighted_words);
    torch::stable::parallel_for(0, words, 1 << 16,
                                [&](int64_t begin, int64_t end) { sum += weighted_words(payload, begin, end); });
    constexpr int64_t own = COCKTAIL_HEADER_WORDS - 1; // counts as 0
    return static_cast<uint32_t>((sum - weighted_words(payload, own, own + 1)) >> 32);
}

static uint8_t* body_of(const Tensor& payload) {
    return static_cast<uint8_t*>(payload.data_ptr()) + COCKTAIL_HEADER_BYTES;
}

static Tensor new_payload(const Tensor& beside, const CocktailLayout& layout) {
    return torch::stable::new_empty(beside, {layout.payload_bytes()}, ScalarType::Byte);
}

// The header before a body that is there, or before zeros where there are no numbers.
static void finish(const CocktailLayout& layout, const Tensor& payload, bool finite) {
    auto* bytes = static_cast<uint8_t*>(payload.data_ptr());
    if (!finite) memset(body_of(payload), 0, static_cast<size_t>(layout.sampled * layout.block_bytes()));
    const auto put = [=](int index, uint32_t word) { memcpy(bytes + 4 * index, &word, 4); };
    for (int i = 0; i < COCKTAIL_HEADER_WORDS; ++i) put(i, header_word(layout, finite ? 0 : COCKTAIL_NOT_FINITE, i));
    put(COCKTAIL_HEADER_WORDS - 1, checksum_of(bytes, layout.payload_bytes() / 4));
}

// From the end, so that what compression begins with was read last.
static bool all_finite(const GradientJob& job) {
    constexpr int64_t piece = 1 << 16;
    std::atomic<bool> finite{true};
    const auto all_finite = WIDEST_FOR_THIS_CPU(all_finite);
    const int64_t numel = job.layout.numel;
    torch::stable::parallel_for(0, (numel + piece - 1) / piece, 2, [&](int64_t begin, int64_t end) {
        for (int64_t i = end; i-- > begin && finite.load(std::memory_order_relaxed);)
            if (!all_finite(job.gradient, job.scale, i * piece, std::min((i + 1) * piece, numel))) finite = false;
    });
    return finite;
}

static void subtract_body(const CocktailLayout& layout, const uint8_t* body, float factor, const Numbers& from) {
    const auto subtract_body = WIDEST_FOR_THIS_CPU(subtract_body);
    for_blocks(layout.sampled, layout,
               [&](int64_t begin, int64_t end) { subtract_body(layout, body, factor, from, begin, end); });
}

static void check_masks(const CocktailLayout& layout, const uint8_t* bodies, int64_t payloads) {
    std::atomic<bool> fit{true};
    const auto masks_fit = WIDEST_FOR_THIS_CPU(masks_fit);
    torch::stable::parallel_for(0, payloads * layout.sampled, BYTES_WORTH_A_THREAD / layout.block * 8,
                                [&](int64_t begin, int64_t end) {
                                    if (!masks_fit(layout, bodies, begin, end)) fit = false;
                                });
    require(fit, "mask: expected ", layout.kept, " bits in every block. The payload is damaged.");
}

Tensor compress_gradient_(const Tensor& gradient, std::optional<Tensor> residual, double scale, int64_t seed,
                          int64_t step, int64_t stream, int64_t block, int64_t sampled, int64_t kept, int64_t bits,
                          int64_t group, bool symmetric) {
    const CocktailLayout layout =
        cocktail_layout(gradient.numel(), seed, step, stream, block, sampled, kept, bits, group, symmetric);
    check_tensor(gradient, "gradient", gradient.scalar_type(), {layout.numel}, gradient);
    check_residual(residual, layout.numel, gradient);
    const Tensor payload = new_payload(gradient, layout);
    const GradientJob job{layout, numbers_of(gradient, "gradient"), numbers_of(residual, "residual"),
                          static_cast<float>(scale), body_of(payload)};
    const bool finite = all_finite(job);
    const auto compress_gradient = WIDEST_FOR_THIS_CPU(compress_gradient);
    if (finite)
        for_blocks(layout.blocks(), layout, [&](int64_t begin, int64_t end) { compress_gradient(job, begin, end); });
    finish(layout, payload, finite);
    return payload;
}

Tensor compress_delta_(const Tensor& local, const Tensor& shared, int64_t seed, int64_t step, int64_t stream,
                       int64_t block, int64_t sampled, int64_t kept, int64_t bits, int64_t group, bool symmetric) {
    const CocktailLayout layout =
        cocktail_layout(local.numel(), seed, step, stream, block, sampled, kept, bits, group, symmetric);
    check_tensor(local, "local", local.scalar_type(), {layout.numel}, local);
    check_tensor(shared, "shared", shared.scalar_type(), {layout.numel}, local);
    const Tensor payload = new_payload(local, layout);
    const DeltaJob job{layout, numbers_of(local, "local"), numbers_of(shared, "shared"), body_of(payload)};
    std::atomic<bool> finite{true};
    const auto encode_delta = WIDEST_FOR_THIS_CPU(encode_delta);
    for_blocks(layout.sampled, layout, [&](int64_t begin, int64_t end) {
        if (!encode_delta(job, begin, end)) finite = false;
    });
    if (finite) subtract_body(layout, job.body, 1.0f, job.local);
    finish(layout, payload, finite);
    return payload;
}

Tensor compress_mean_(const Tensor& payloads, std::optional<Tensor> residual, int64_t numel, int64_t seed, int64_t step,
                      int64_t stream, int64_t block, int64_t sampled, int64_t kept, int64_t bits, int64_t group,
                      bool symmetric) {
    const CocktailLayout layout =
        cocktail_layout(numel, seed, step, stream, block, sampled, kept, bits, group, symmetric);
    require(payloads.dim() == 2 && payloads.size(0) >= 1, "payloads: expected one or more rows.");
    check_tensor(payloads, "payloads", ScalarType::Byte, {payloads.size(0), layout.payload_bytes()}, payloads);
    check_residual(residual, numel, payloads);
    const Tensor payload = new_payload(payloads, layout);
    const MeanJob job{layout, body_of(payloads), payloads.size(0), numbers_of(residual, "residual"), body_of(payload)};
    bool finite = true;
    for (int64_t i = 0; i < job.workers; ++i) {
        const uint8_t* body = job.bodies + i * layout.payload_bytes();
        finite = finite && !(body[COCKTAIL_FLAGS_AT - COCKTAIL_HEADER_BYTES] & COCKTAIL_NOT_FINITE);
    }
    if (finite) check_masks(layout, job.bodies, job.workers);
    const auto compress_mean = WIDEST_FOR_THIS_CPU(compress_mean);
    if (finite) for_blocks(layout.sampled, layout, [&](int64_t begin, int64_t end) { compress_mean(job, begin, end); });
    finish(layout, payload, finite);
    return payload;
}

static void fill_with_nan(const Tensor& out) {
    const Numbers to = numbers_of(out, "out");
    torch::stable::parallel_for(0, out.numel(), WORTH_A_THREAD, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) put_number(to.data, to.number, i, float_of(0x7fc00000));
    });
}

void add_payload_(const Tensor& payload, const Tensor& out, double scale, int64_t seed, int64_t step, int64_t stream,
                  int64_t block, int64_t sampled, int64_t kept, int64_t bits, int64_t group, bool symmetric) {
    const CocktailLayout layout =
        cocktail_layout(out.numel(), seed, step, stream, block, sampled, kept, bits, group, symmetric);
    check_tensor(out, "out", out.scalar_type(), {layout.numel}, payload);
    check_tensor(payload, "payload", ScalarType::Byte, {layout.payload_bytes()}, payload);
    const Numbers to = numbers_of(out, "out");
    const uint8_t* body = body_of(payload);
    if (body[COCKTAIL_FLAGS_AT - COCKTAIL_HEADER_BYTES] & COCKTAIL_NOT_FINITE) return fill_with_nan(out);
    check_masks(layout, body, 1);
    const float factor = -static_cast<float>(scale); // changes the signs of all products, and nothing else
    subtract_body(layout, body, factor, to);
}

Tensor payload_checksum(const Tensor& payload) {
    const int64_t bytes = payload.numel();
    check_tensor(payload, "payload", ScalarType::Byte, {bytes}, payload);
    require(bytes >= COCKTAIL_HEADER_BYTES && bytes % 4 == 0, "payload: expected a header and whole words, got ", bytes,
            " bytes.");
    Tensor checksum = torch::stable::new_empty(payload, {1}, ScalarType::Long);
    *static_cast<int64_t*>(checksum.data_ptr()) =
        checksum_of(static_cast<const uint8_t*>(payload.data_ptr()), bytes / 4);
    return checksum;
}

STABLE_TORCH_LIBRARY_IMPL(fmcompress, CPU, m) {
    m.impl("compress_gradient_", TORCH_BOX(&compress_gradient_));
    m.impl("compress_delta_", TORCH_BOX(&compress_delta_));
    m.impl("compress_mean_", TORCH_BOX(&compress_mean_));
    m.impl("add_payload_", TORCH_BOX(&add_payload_));
    m.impl("payload_checksum", TORCH_BOX(&payload_checksum));
}
