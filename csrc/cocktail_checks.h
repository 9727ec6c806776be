// The layout of a cocktail payload from an op's arguments, checked: whoever comes past the checks in Python must not
// lead a kernel out of its buffers.
#pragma once
#include <bit>

#include "cocktail.h"
#include "packed_checks.h"

inline CocktailLayout cocktail_layout(int64_t numel, int64_t seed, int64_t step, int64_t stream, int64_t block,
                                      int64_t sampled, int64_t kept, int64_t bits, int64_t group, bool symmetric) {
    constexpr int64_t largest_stratum = 1 << 16, most = 1ll << 38; // elements, so that no product overflows
    require(numel >= 1 && numel <= most, "tensor: expected 1 to ", most, " elements, got ", numel, ".");
    require(block >= 128 && block <= COCKTAIL_LARGEST_BLOCK && std::has_single_bit(static_cast<uint64_t>(block)),
            "block: expected a power of two, 128 to ", COCKTAIL_LARGEST_BLOCK, ", got ", block, ".");
    require((1 <= bits && bits <= 8) || bits == 32, "bits: expected 1 to 8, or 32, got ", bits, ".");
    const int64_t blocks = (numel + block - 1) / block;
    require((blocks + largest_stratum - 1) / largest_stratum <= sampled && sampled <= blocks, "sampled: expected 1 to ",
            blocks, " blocks, one of ", largest_stratum, " at least, got ", sampled, ".");
    require(1 <= kept && kept <= block, "kept: expected 1 to ", block, ", got ", kept, ".");
    require(1 <= group && group <= kept, "group: expected 1 to ", kept, ", got ", group, ".");
    require(seed >= 0, "seed: expected 0 to 2^63 - 1, got ", seed, ".");
    require(step >= 0, "step: expected 0 to 2^63 - 1, got ", step, ".");
    require(0 <= stream && stream <= 0xffffffff, "stream: expected 0 to 2^32 - 1, got ", stream, ".");
    return {numel,
            seed,
            step,
            static_cast<uint32_t>(stream),
            sampled,
            static_cast<int>(block),
            static_cast<int>(kept),
            static_cast<int>(bits),
            static_cast<int>(group),
            symmetric};
}

// A residual is kept in float32 or bfloat16.
inline void check_residual(const std::optional<Tensor>& residual, int64_t numel, const Tensor& beside) {
    if (!residual) return;
    require(number_of(*residual, "residual") != Number::float16, "residual: expected float32 or bfloat16.");
    check_tensor(*residual, "residual", residual->scalar_type(), {numel}, beside);
}
