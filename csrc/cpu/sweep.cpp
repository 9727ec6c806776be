// sweep_block_ and joint_sweep_block_ on the CPU: tiles of rows of all matrices over threads, a tile's rows in the
// lanes of vectors.
#include <algorithm>
#include <cstring>
#include <type_traits>
#include <utility>

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/headeronly/core/ScalarType.h>

#include "grid.h"
#include "checks.h"
#include "isa.h"
#include "ops.h"
#include "sweep.h"

using torch::headeronly::ScalarType;

static constexpr int MAX_COLS = 128;

// What becomes of the weights that are not pruned: nothing, or a level of their row's grid, or of each one's own.
enum class Kept { as_is, on_row_grid, on_own_grid };

// The arguments of a sweep, of all matrices or of the rows of one tile.
template <class Scalar> struct Block {
    Scalar* weight;
    const Scalar* factor;
    const bool* prune; // or null; only looked at where group is 0
    Scalar* loss;
    int64_t batch, rows, cols;
    int keep, group;

    // of a joint sweep
    const Scalar* scale = nullptr;
    const uint8_t* zero = nullptr;
    uint8_t* codes = nullptr;
    int64_t grids = 0; // of a row
    Scalar top = 0;    // the highest code

    Block part(int64_t matrix, int64_t first, int64_t count) const {
        const int64_t row = matrix * rows + first;
        Block block = *this;
        block.batch = 1;
        block.rows = count;
        block.factor += matrix * cols * cols;
        block.weight += row * cols;
        block.loss += row;
        if (prune) block.prune += row * cols;
        if (grids) {
            block.scale += row * grids;
            block.zero += row * grids;
            block.codes += row * cols;
        }
        return block;
    }
};

namespace baseline {
#define LANE_BYTES 16
#include "vector-inl.h"
#include "sweep-inl.h"
#undef LANE_BYTES
} // namespace baseline

#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("avx2,fma")
namespace avx2 {
#define LANE_BYTES 32
#include "vector-inl.h"
#include "sweep-inl.h"
#undef LANE_BYTES
} // namespace avx2
#pragma GCC pop_options
#endif

template <Kept KEPT, class Scalar> static void sweep_rows(const Block<Scalar>& block) {
    const auto sweep_tile = FOR_THIS_CPU(sweep_tile<Scalar, KEPT>);
    const int64_t step = FOR_THIS_CPU(Tile<Scalar, KEPT>::rows);
    const int64_t tiles = (block.rows + step - 1) / step; // of a matrix
    torch::stable::parallel_for(0, block.batch * tiles, 1, [&](int64_t begin, int64_t end) {
        for (int64_t tile = begin; tile < end; ++tile) {
            const int64_t row = tile % tiles * step;
            sweep_tile(block.part(tile / tiles, row, std::min(block.rows - row, step)));
        }
    });
}

template <class Scalar> static Block<Scalar> block_of(Tensor& weight, const Tensor& factor,
                                                      const std::optional<Tensor>& prune, Tensor& loss, int64_t keep,
                                                      int64_t group) {
    Block<Scalar> block{};
    block.weight = static_cast<Scalar*>(weight.data_ptr());
    block.factor = static_cast<const Scalar*>(factor.data_ptr());
    block.prune = prune ? static_cast<const bool*>(prune->data_ptr()) : nullptr;
    block.loss = static_cast<Scalar*>(loss.data_ptr());
    const auto [batch, rows, cols] = Matrices(weight);
    block.batch = batch;
    block.rows = rows;
    block.cols = cols;
    block.keep = static_cast<int>(keep);
    block.group = prune ? 0 : static_cast<int>(group);
    return block;
}

template <class Scalar>
static void sweep_jointly(Block<Scalar> block, const Tensor& scale, const Tensor& zero, Tensor& codes, int64_t bits) {
    block.scale = static_cast<const Scalar*>(scale.data_ptr());
    block.zero = static_cast<const uint8_t*>(zero.data_ptr());
    block.codes = static_cast<uint8_t*>(codes.data_ptr());
    block.grids = Matrices(scale).cols;
    block.top = static_cast<Scalar>((1 << bits) - 1);
    if (block.grids == 1)
        sweep_rows<Kept::on_row_grid>(block);
    else
        sweep_rows<Kept::on_own_grid>(block);
}

Tensor sweep_block_(Tensor weight, const Tensor& factor, const std::optional<Tensor>& prune, int64_t keep,
                    int64_t group) {
    check_block(weight, factor, prune, keep, group, false);
    Tensor loss = torch::stable::new_empty(weight, sizes_of_rows(weight));
    if (weight.scalar_type() == ScalarType::Double)
        sweep_rows<Kept::as_is>(block_of<double>(weight, factor, prune, loss, keep, group));
    else
        sweep_rows<Kept::as_is>(block_of<float>(weight, factor, prune, loss, keep, group));
    return loss;
}

std::tuple<Tensor, Tensor> joint_sweep_block_(Tensor weight, const Tensor& factor, const std::optional<Tensor>& prune,
                                              const Tensor& scale, const Tensor& zero, int64_t bits, int64_t keep,
                                              int64_t group) {
    check_block(weight, factor, prune, keep, group, true);
    check_grids(weight, scale, zero, bits);
    Tensor loss = torch::stable::new_empty(weight, sizes_of_rows(weight));
    Tensor codes = torch::stable::new_empty(weight, weight.sizes(), ScalarType::Byte);
    if (weight.scalar_type() == ScalarType::Double)
        sweep_jointly(block_of<double>(weight, factor, prune, loss, keep, group), scale, zero, codes, bits);
    else
        sweep_jointly(block_of<float>(weight, factor, prune, loss, keep, group), scale, zero, codes, bits);
    return {loss, codes};
}

STABLE_TORCH_LIBRARY_IMPL(fmcompress, CPU, m) {
    m.impl("sweep_block_", TORCH_BOX(&sweep_block_));
    m.impl("joint_sweep_block_", TORCH_BOX(&joint_sweep_block_));
}
