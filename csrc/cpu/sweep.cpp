// sweep_block_ on the CPU: tiles of rows over threads, the rows of a tile in the lanes of vectors.
#include <algorithm>
#include <type_traits>

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/headeronly/core/ScalarType.h>

#include "isa.h"
#include "ops.h"
#include "sweep.h"

static constexpr int MAX_COLS = 128;

namespace baseline {
#define LANE_BYTES 16
#include "sweep-inl.h"
#undef LANE_BYTES
} // namespace baseline

#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("avx2,fma")
namespace avx2 {
#define LANE_BYTES 32
#include "sweep-inl.h"
#undef LANE_BYTES
} // namespace avx2
#pragma GCC pop_options
#endif

// The body for this CPU and the rows that it takes at a time.
template <class Scalar> struct Sweep {
    void (*tile)(Scalar*, const Scalar*, const bool*, Scalar*, int64_t, int64_t, int, int);
    int64_t rows;
};

template <class Scalar> static Sweep<Scalar> sweep_for_this_cpu() {
#if defined(__x86_64__)
    if (current_isa() == Isa::avx2) return {avx2::sweep_tile<Scalar>, avx2::Tile<Scalar>::rows};
#endif
    return {baseline::sweep_tile<Scalar>, baseline::Tile<Scalar>::rows};
}

template <class Scalar>
static void sweep_rows(Tensor& weight, const Tensor& factor, const bool* prune, Tensor& loss, int keep, int group) {
    const int64_t rows = weight.size(0), cols = weight.size(1);
    auto* w = static_cast<Scalar*>(weight.data_ptr());
    const auto* u = static_cast<const Scalar*>(factor.data_ptr());
    auto* sums = static_cast<Scalar*>(loss.data_ptr());
    const auto sweep = sweep_for_this_cpu<Scalar>();
    torch::stable::parallel_for(0, (rows + sweep.rows - 1) / sweep.rows, 1, [=](int64_t begin, int64_t end) {
        for (int64_t row = begin * sweep.rows; row < std::min(rows, end * sweep.rows); row += sweep.rows) {
            const int64_t count = std::min(rows - row, sweep.rows);
            sweep.tile(w + row * cols, u, prune ? prune + row * cols : nullptr, sums + row, count, cols, keep,
                       prune ? 0 : group);
        }
    });
}

Tensor sweep_block_(Tensor weight, const Tensor& factor, const std::optional<Tensor>& prune, int64_t keep,
                    int64_t group) {
    CHECK_LAYOUT(weight);
    CHECK_LAYOUT(factor);
    STD_TORCH_CHECK(weight.size(1) <= MAX_COLS, "weight: expected at most 128 columns");
    const bool* mask = nullptr;
    if (prune.has_value()) {
        CHECK_LAYOUT(*prune);
        mask = static_cast<const bool*>(prune->data_ptr());
    }
    Tensor loss = torch::stable::new_empty(weight, {weight.size(0)});
    if (weight.scalar_type() == torch::headeronly::ScalarType::Double)
        sweep_rows<double>(weight, factor, mask, loss, static_cast<int>(keep), static_cast<int>(group));
    else
        sweep_rows<float>(weight, factor, mask, loss, static_cast<int>(keep), static_cast<int>(group));
    return loss;
}

STABLE_TORCH_LIBRARY_IMPL(fmcompress, CPU, m) { m.impl("sweep_block_", TORCH_BOX(&sweep_block_)); }
