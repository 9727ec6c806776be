// select_smallest and nm_mask on the CPU: partial sorting, of long segments only the bin that matters.
#include <algorithm>
#include <utility>
#include <vector>

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/headeronly/core/ScalarType.h>

#include "checks.h"
#include "order.h"
#include "sweep.h"

using torch::stable::parallel_for;

// A score by its order, equal scores by their place, so that ties resolve themselves.
template <class Scalar> using Ranked = std::pair<typename OrderKey<Scalar>::type, int64_t>;

// Marks the `count` smallest of the listed scores.
template <class Ranks> static void mark_smallest(Ranks& ranked, int64_t count, bool* mask) {
    if (count == 0) return;
    std::nth_element(ranked.begin(), ranked.begin() + (count - 1), ranked.end());
    for (int64_t i = 0; i < count; ++i) mask[ranked[i].second] = true;
}

template <class Scalar> static void select_short(const Scalar* scores, bool* mask, int64_t length, int64_t count,
                                                 std::vector<Ranked<Scalar>>& ranked) {
    ranked.resize(length);
    for (int64_t i = 0; i < length; ++i) ranked[i] = {order_key(scores[i]), i};
    std::fill(mask, mask + length, false);
    mark_smallest(ranked, count, mask);
}

// A long segment is cut into pieces, the unit of work of one thread, and its scores into bins by their leading bits.
static constexpr int64_t LONG = 1 << 15;
static constexpr int64_t PIECE = 1 << 16;
static constexpr int BIN_BITS = 13;
static constexpr int64_t BINS = 1 << BIN_BITS;

template <class Scalar> static int bin_of(Scalar score) {
    return static_cast<int>(order_key(score) >> (8 * sizeof(Scalar) - BIN_BITS));
}

// Count the bins; only the scores of the bin that holds the threshold need ordering.
template <class Scalar> static void select_long(const Scalar* scores, bool* mask, int64_t length, int64_t count) {
    const int64_t piece = std::max(PIECE, length / 64), pieces = (length + piece - 1) / piece;
    const auto for_pieces = [=](const auto& body) {
        parallel_for(0, pieces, 1, [&](int64_t first, int64_t last) {
            for (int64_t p = first; p < last; ++p) body(p, p * piece, std::min(length, (p + 1) * piece));
        });
    };
    std::vector<int64_t> counts(pieces * BINS, 0);
    for_pieces([&](int64_t p, int64_t begin, int64_t end) {
        int64_t* histogram = counts.data() + p * BINS;
        for (int64_t i = begin; i < end; ++i) ++histogram[bin_of(scores[i])];
    });
    int threshold = 0;
    int64_t remaining = count; // how many of the threshold's bin belong to the smallest
    for (;; ++threshold) {
        int64_t in_bin = 0;
        for (int64_t p = 0; p < pieces; ++p) in_bin += counts[p * BINS + threshold];
        if (remaining <= in_bin) break;
        remaining -= in_bin;
    }
    std::vector<std::vector<Ranked<Scalar>>> found(pieces);
    for_pieces([&](int64_t p, int64_t begin, int64_t end) {
        found[p].reserve(counts[p * BINS + threshold]);
        for (int64_t i = begin; i < end; ++i) {
            const int bin = bin_of(scores[i]);
            mask[i] = bin < threshold;
            if (bin == threshold) found[p].emplace_back(order_key(scores[i]), i);
        }
    });
    std::vector<Ranked<Scalar>> candidates;
    for (const auto& some : found) candidates.insert(candidates.end(), some.begin(), some.end());
    mark_smallest(candidates, remaining, mask);
}

template <class Scalar> static void select_segments(const Tensor& scores, Tensor& selected, int64_t count) {
    const int64_t segments = scores.size(0), length = scores.size(1);
    const auto* in = static_cast<const Scalar*>(scores.data_ptr());
    auto* out = static_cast<bool*>(selected.data_ptr());
    if (length > LONG) {
        for (int64_t s = 0; s < segments; ++s) select_long(in + s * length, out + s * length, length, count);
        return;
    }
    parallel_for(0, segments, 1 + LONG / (length + 1), [=](int64_t begin, int64_t end) {
        std::vector<Ranked<Scalar>> ranked;
        for (int64_t s = begin; s < end; ++s) select_short(in + s * length, out + s * length, length, count, ranked);
    });
}

Tensor select_smallest(const Tensor& scores, int64_t count) {
    check_floats(scores, "scores");
    require(0 <= count && count <= scores.size(1), "count: expected 0 to ", scores.size(1), ", got ", count, ".");
    Tensor mask =
        torch::stable::new_empty(scores, {scores.size(0), scores.size(1)}, torch::headeronly::ScalarType::Bool);
    if (count == 0 || mask.numel() == 0) return torch::stable::zero_(mask);
    if (scores.scalar_type() == torch::headeronly::ScalarType::Double)
        select_segments<double>(scores, mask, count);
    else
        select_segments<float>(scores, mask, count);
    return mask;
}

template <class Scalar> static void mask_groups(const Tensor& scores, Tensor& mask, int64_t keep, int64_t group) {
    const auto* in = static_cast<const Scalar*>(scores.data_ptr());
    auto* out = static_cast<bool*>(mask.data_ptr());
    parallel_for(0, mask.numel() / group, 1 + LONG / group / group, [=](int64_t begin, int64_t end) {
        for (int64_t g = begin; g < end; ++g) {
            const Scalar* score = in + g * group;
            for (int a = 0; a < group; ++a) {
                int before = 0;
                for (int b = 0; b < group; ++b) before += b != a && precedes(score[b], b, score[a], a);
                out[g * group + a] = before < group - keep;
            }
        }
    });
}

Tensor nm_mask(const Tensor& scores, int64_t keep, int64_t group) {
    check_floats(scores, "scores");
    check_groups(keep, group, scores.size(1));
    Tensor mask =
        torch::stable::new_empty(scores, {scores.size(0), scores.size(1)}, torch::headeronly::ScalarType::Bool);
    if (scores.scalar_type() == torch::headeronly::ScalarType::Double)
        mask_groups<double>(scores, mask, keep, group);
    else
        mask_groups<float>(scores, mask, keep, group);
    return mask;
}

STABLE_TORCH_LIBRARY_IMPL(fmcompress, CPU, m) {
    m.impl("select_smallest", TORCH_BOX(&select_smallest));
    m.impl("nm_mask", TORCH_BOX(&nm_mask));
}
