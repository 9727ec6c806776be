// admm_step_ on the CPU: what a step does to the matrices, fused around the selection; of the whole matrix or of a long
// row in two passes over memory. A product and a sum must not become one operation with one rounding.
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#else
#pragma GCC optimize("fp-contract=off")
#endif
#include <algorithm>
#include <atomic>
#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/headeronly/core/ScalarType.h>

#include "admm.h"
#include "checks.h"
#include "isa.h"
#include "select.h"

using torch::headeronly::ScalarType;
using torch::stable::parallel_for;

static constexpr int STRETCH = 256; // values that go through the buffers at a time; a longer group is a segment

template <class Scalar> using Word = decltype(magnitude_key(Scalar()));

// A value whose bin holds the threshold.
template <class Scalar> struct OpenValue {
    Word<Scalar> key;
    int64_t place;
    Scalar value;
    bool was_kept;

    bool operator<(const OpenValue& other) const {
        return key < other.key || (key == other.key && place < other.place);
    }
};

namespace baseline {
#define LANE_BYTES 16
#include "select-inl.h"
#include "vector-inl.h"
#include "admm-inl.h"
#undef LANE_BYTES
} // namespace baseline

#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("avx2,fma")
namespace avx2 {
#define LANE_BYTES 32
#include "select-inl.h"
#include "vector-inl.h"
#include "admm-inl.h"
#undef LANE_BYTES
} // namespace avx2
#pragma GCC pop_options
#endif

template <class Scalar> static int64_t step_groups(const AdmmStep<Scalar>& step, int64_t numel, int keep, int group) {
    const int64_t worth_a_thread = LONG / group + 1;
    std::atomic<int64_t> changed{0};
    const auto step_groups = FOR_THIS_CPU(step_groups<Scalar>);
    parallel_for(0, numel / group, worth_a_thread, [&](int64_t begin, int64_t end) {
        changed += step_groups(step, begin * group, end * group, keep, group);
    });
    return changed;
}

template <class Scalar> static AdmmStep<Scalar> from(AdmmStep<Scalar> step, int64_t at) {
    return {step.x + at, step.dual + at, step.kept + at, step.target + at, step.shrink, step.penalty};
}

// A long segment for select_long.
template <class Scalar> struct LongSegment {
    using Entry = OpenValue<Scalar>;

    AdmmStep<Scalar> step;
    std::atomic<int64_t>* changed;

    void count(int64_t begin, int64_t end, int64_t* histogram) const {
        FOR_THIS_CPU(count_bins<Scalar>)(step, begin, end, histogram);
    }
    void settle(int64_t begin, int64_t end, int bin, std::vector<Entry>& open) const {
        *changed += FOR_THIS_CPU(step_all_but<Scalar>)(step, begin, end, bin, open);
    }
    void settle_one(const Entry& entry, bool selected) const {
        if (!selected) return; // it stayed, for good
        const Scalar left = next_dual(entry.value, Scalar(0), step.shrink);
        step.dual[entry.place] = left;
        step.x[entry.place] = next_right_side(step.target[entry.place], Scalar(0), left, step.penalty);
        step.kept[entry.place] = 0;
        *changed += entry.was_kept ? 1 : -1;
    }
};

template <class Scalar>
static int64_t step_segments(const AdmmStep<Scalar>& step, int64_t segments, int64_t length, int64_t prune) {
    std::atomic<int64_t> changed{0};
    if (length > LONG) {
        for (int64_t s = 0; s < segments; ++s)
            select_long(length, prune, LongSegment<Scalar>{from(step, s * length), &changed});
        return changed;
    }
    const auto step_short = FOR_THIS_CPU(step_short<Scalar>);
    parallel_for(0, segments, 1 + LONG / (length + 1),
                 [&](int64_t begin, int64_t end) { changed += step_short(step, begin, end, length, prune); });
    return changed;
}

Tensor admm_step_(Tensor x, Tensor dual, Tensor kept, const Tensor& target, double penalty, double next_penalty,
                  int64_t prune, int64_t keep, int64_t group, bool by_row) {
    check_step(x, dual, kept, target, penalty, next_penalty, prune, keep, group, by_row);
    Tensor changed = torch::stable::new_empty(x, {}, ScalarType::Long);
    const int64_t numel = x.numel(), length = group ? group : by_row ? x.size(1) : numel;
    const auto run = [&](auto scalar) -> int64_t {
        const auto step = AdmmStep<decltype(scalar)>::of(x.data_ptr(), dual.data_ptr(), kept.data_ptr(),
                                                         target.data_ptr(), penalty, next_penalty);
        if (numel == 0) return 0;
        if (group && group <= STRETCH) return step_groups(step, numel, int(keep), int(group));
        return step_segments(step, numel / length, length, group ? group - keep : prune);
    };
    *static_cast<int64_t*>(changed.data_ptr()) = x.scalar_type() == ScalarType::Double ? run(double()) : run(float());
    return changed;
}

STABLE_TORCH_LIBRARY_IMPL(fmcompress, CPU, m) { m.impl("admm_step_", TORCH_BOX(&admm_step_)); }
