// plan_cost and improve_plan: what a plan of training costs, and a better one near it.
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/headeronly/core/ScalarType.h>

#include "checks.h"
#include "ops.h"
#include "plan_search.h"
#include "plan_state.h"

using torch::headeronly::ScalarType;

static Tables tables_of(const Tensor& stage_of, const Tensor& links, const Tensor& compute,
                        const Tensor& gradient_bytes, int64_t micro_batches, bool free_order) {
    require(stage_of.dim() == 1 && gradient_bytes.dim() == 1, "stage_of: expected [devices] int64.");
    const int64_t devices = stage_of.size(0), stages = gradient_bytes.size(0);
    check_tensor(stage_of, "stage_of", ScalarType::Long, {devices}, stage_of);
    check_tensor(links, "links", ScalarType::Double, {4, devices, devices}, stage_of);
    check_tensor(compute, "compute", ScalarType::Double, {stages, devices}, stage_of);
    check_tensor(gradient_bytes, "gradient_bytes", ScalarType::Double, {stages}, stage_of);
    require(micro_batches >= 1 && stages >= 1, "micro_batches: expected at least 1, got ", micro_batches, ".");
    require(!free_order || micro_batches == 1, "micro_batches: expected 1 where the order is free, got ", micro_batches,
            ".");
    const auto* stage = static_cast<const int64_t*>(stage_of.data_ptr());
    std::vector<int64_t> counts(stages + 1);
    for (int64_t d = 0; d < devices; ++d) {
        require(-1 <= stage[d] && stage[d] < stages, "stage_of: expected -1 to ", stages - 1, ", got ", stage[d], ".");
        ++counts[stage[d] < 0 ? stages : stage[d]];
    }
    for (int64_t s = 0; s < stages; ++s)
        require(counts[s] == counts[0] && counts[0] > 0, "stage_of: expected each stage equally often, got ", counts[0],
                " devices of stage 0 and ", counts[s], " of stage ", s, ".");
    require(counts[0] <= 4096, "stage_of: expected at most 4096 devices of a stage, got ", counts[0], ".");
    const auto* seconds = static_cast<const double*>(links.data_ptr());
    for (int64_t i = 0; i < 4 * devices * devices; ++i)
        require(std::isfinite(seconds[i]) && seconds[i] >= 0, "links: expected finite seconds of at least 0.");
    const int64_t plane = devices * devices;
    return {seconds,
            seconds + plane,
            seconds + 2 * plane,
            seconds + 3 * plane,
            static_cast<const double*>(compute.data_ptr()),
            static_cast<const double*>(gradient_bytes.data_ptr()),
            devices,
            stages,
            counts[0],
            micro_batches,
            free_order};
}

// Of the two directions of a path, the one that begins with the group of the smaller least device.
static void write_stages(const Parts& parts, const Tables& tables, int64_t* to) {
    std::vector<int> path = parts.path;
    if (tables.free_order &&
        std::ranges::min(parts.members[path.front()]) > std::ranges::min(parts.members[path.back()]))
        std::ranges::reverse(path);
    std::fill(to, to + tables.devices, -1);
    for (int64_t s = 0; s < tables.stages; ++s)
        for (const int d : parts.members[path[s]]) to[d] = s;
}

struct Found {
    Tensor stage_of, terms;
    int64_t evaluations;
};

template <int words> static Found run(const Tables& tables, const Tensor& stage_of, int64_t seed, int64_t evaluations) {
    State<words> state(tables, static_cast<const int64_t*>(stage_of.data_ptr()));
    if (evaluations > 0) Search<words>(state, seed, evaluations).run();
    Found found{torch::stable::new_empty(stage_of, {tables.devices}),
                torch::stable::new_empty(stage_of, {5}, ScalarType::Double), state.evaluations};
    write_stages(state, tables, static_cast<int64_t*>(found.stage_of.data_ptr()));
    const Terms terms = state.terms();
    auto* to = static_cast<double*>(found.terms.data_ptr());
    to[0] = terms.total(), to[1] = terms.exchange, to[2] = terms.hand_over, to[3] = terms.compute,
    to[4] = terms.waiting;
    return found;
}

static Found run_any(const Tables& tables, const Tensor& stage_of, int64_t seed, int64_t evaluations) {
    if (tables.replicas <= 64) return run<1>(tables, stage_of, seed, evaluations);
    if (tables.replicas <= 256) return run<4>(tables, stage_of, seed, evaluations);
    return run<64>(tables, stage_of, seed, evaluations);
}

std::tuple<Tensor, Tensor> plan_cost(const Tensor& stage_of, const Tensor& links, const Tensor& compute,
                                     const Tensor& gradient_bytes, int64_t micro_batches, bool free_order) {
    const Tables tables = tables_of(stage_of, links, compute, gradient_bytes, micro_batches, free_order);
    Found found = run_any(tables, stage_of, 0, 0);
    return {found.stage_of, found.terms};
}

std::tuple<Tensor, Tensor, Tensor> improve_plan(const Tensor& stage_of, const Tensor& links, const Tensor& compute,
                                                const Tensor& gradient_bytes, int64_t micro_batches, bool free_order,
                                                int64_t seed, int64_t evaluations) {
    const Tables tables = tables_of(stage_of, links, compute, gradient_bytes, micro_batches, free_order);
    Found found = run_any(tables, stage_of, seed, evaluations);
    Tensor count = torch::stable::new_empty(stage_of, {});
    *static_cast<int64_t*>(count.data_ptr()) = found.evaluations;
    return {found.stage_of, found.terms, count};
}

STABLE_TORCH_LIBRARY_IMPL(fmcompress, CPU, m) {
    m.impl("plan_cost", TORCH_BOX(&plan_cost));
    m.impl("improve_plan", TORCH_BOX(&improve_plan));
}
