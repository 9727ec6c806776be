// select_smallest and nm_mask on the CPU.
#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/headeronly/core/ScalarType.h>

#include "checks.h"
#include "isa.h"
#include "select.h"
#include "sweep.h"

using torch::stable::parallel_for;

template <class Scalar> using Key = decltype(signed_key(Scalar()));

namespace baseline {
#include "select-inl.h"
} // namespace baseline

#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("avx2,fma")
namespace avx2 {
#include "select-inl.h"
} // namespace avx2
#pragma GCC pop_options
#endif

// A long segment for select_long.
template <class Scalar> struct MaskJob {
    using Entry = std::pair<typename OrderKey<Scalar>::type, int64_t>;

    Scores<Scalar> scores;
    uint8_t* mask;

    static int bin_of(Scalar score) { return static_cast<int>(order_key(score) >> (8 * sizeof(Scalar) - BIN_BITS)); }

    void count(int64_t begin, int64_t end, int64_t* histogram) const {
        for (int64_t i = begin; i < end; ++i) ++histogram[bin_of(scores[i])];
    }
    void settle(int64_t begin, int64_t end, int threshold, std::vector<Entry>& open) const {
        for (int64_t i = begin; i < end; ++i) {
            const int bin = bin_of(scores[i]);
            mask[i] = bin < threshold;
            if (bin == threshold) open.emplace_back(order_key(scores[i]), i);
        }
    }
    void settle_one(const Entry& entry, bool selected) const { mask[entry.second] = selected; }
};

template <class Scalar>
static void select_segments(const Tensor& scores, Tensor& selected, int64_t count, bool by_magnitude) {
    const int64_t segments = scores.size(0), length = scores.size(1);
    const Scores<Scalar> in{static_cast<const Scalar*>(scores.data_ptr()), by_magnitude};
    auto* out = static_cast<uint8_t*>(selected.data_ptr());
    if (length > LONG) {
        for (int64_t s = 0; s < segments; ++s)
            select_long(length, count, MaskJob<Scalar>{in.from(s * length), out + s * length});
        return;
    }
    parallel_for(0, segments, 1 + LONG / (length + 1), [=](int64_t begin, int64_t end) {
        std::vector<Key<Scalar>> keys(length);
        for (int64_t s = begin; s < end; ++s) {
            for (int64_t i = 0; i < length; ++i) keys[i] = signed_key(in[s * length + i]);
            FOR_THIS_CPU(mark_smallest<Key<Scalar>>)(keys.data(), length, count, out + s * length);
        }
    });
}

Tensor select_smallest(const Tensor& scores, int64_t count, bool by_magnitude) {
    check_floats(scores, "scores");
    require(0 <= count && count <= scores.size(1), "count: expected 0 to ", scores.size(1), ", got ", count, ".");
    Tensor mask =
        torch::stable::new_empty(scores, {scores.size(0), scores.size(1)}, torch::headeronly::ScalarType::Bool);
    if (count == 0 || mask.numel() == 0) return torch::stable::zero_(mask);
    if (scores.scalar_type() == torch::headeronly::ScalarType::Double)
        select_segments<double>(scores, mask, count, by_magnitude);
    else
        select_segments<float>(scores, mask, count, by_magnitude);
    return mask;
}

template <class Scalar>
static void mask_groups(const Tensor& scores, Tensor& mask, int64_t keep, int64_t group, bool by_magnitude) {
    const Scores<Scalar> in{static_cast<const Scalar*>(scores.data_ptr()), by_magnitude};
    auto* out = static_cast<bool*>(mask.data_ptr());
    parallel_for(0, mask.numel() / group, 1 + LONG / group / group, [=](int64_t begin, int64_t end) {
        for (int64_t g = begin; g < end; ++g) {
            const Scores<Scalar> score = in.from(g * group);
            for (int a = 0; a < group; ++a) {
                int before = 0;
                for (int b = 0; b < group; ++b) before += b != a && precedes(score[b], b, score[a], a);
                out[g * group + a] = before < group - keep;
            }
        }
    });
}

Tensor nm_mask(const Tensor& scores, int64_t keep, int64_t group, bool by_magnitude) {
    check_floats(scores, "scores");
    check_groups(keep, group, scores.size(1));
    Tensor mask =
        torch::stable::new_empty(scores, {scores.size(0), scores.size(1)}, torch::headeronly::ScalarType::Bool);
    if (scores.scalar_type() == torch::headeronly::ScalarType::Double)
        mask_groups<double>(scores, mask, keep, group, by_magnitude);
    else
        mask_groups<float>(scores, mask, keep, group, by_magnitude);
    return mask;
}

STABLE_TORCH_LIBRARY_IMPL(fmcompress, CPU, m) {
    m.impl("select_smallest", TORCH_BOX(&select_smallest));
    m.impl("nm_mask", TORCH_BOX(&nm_mask));
}
