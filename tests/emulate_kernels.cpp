// The kernels of csrc/cuda behind plain C functions, run on the CPU through cuda_shim.h; tests/emulation.py builds and
// loads them.
#include <vector>

#include "admm.cuh"
#include "bitmask.cuh"
#include "factor.cuh"
#include "grid.cuh"
#include "joint.cuh"
#include "select.cuh"
#include "weighted_sum.cuh"
#include "emulated_calls.h"

using namespace gpu;

template <class Scalar> static void select_with(Scores<Scalar> scores, bool* mask, int64_t segments, int64_t length,
                                                int64_t count, int64_t route) {
    const int64_t steps = segments * passes_over<Scalar>(length);
    std::vector<uint32_t> histograms(steps * BINS, 0);
    std::vector<Search<Scalar>> searches(steps);
    select_segments(scores, mask, segments, length, count, Route(route), {histograms.data(), searches.data()}, 0);
}

template <class Scalar> static void step_with(const AdmmStep<Scalar>& step, bool* pruned, unsigned long long* changed,
                                              int64_t numel, int64_t length, int64_t prune, int64_t route) {
    write_values(step, numel, 0);
    if (prune) select_with(Scores<Scalar>{step.dual, true}, pruned, numel / length, length, prune, route);
    project(step, pruned, changed, numel, 0);
}

// What a .cu file does with the numbers it reads back: the total, or -1 for a bit after the last column.
static int64_t total_of(const Counts& counts) { return *counts.stray() ? -1 : *counts.total(); }

template <class Value> static void move_of(const MaskShape& shape, const Counts& counts, bool pack, void* dense,
                                           const uint8_t* bitmask, void* kept) {
    auto *values = static_cast<Value*>(dense), *few = static_cast<Value*>(kept);
    if (pack)
        move_values(Sides<Value, true>{values, few}, bitmask, shape, counts, 0);
    else
        move_values(Sides<Value, false>{values, few}, bitmask, shape, counts, 0);
}

// Both ways, mask null where the bitmask is given; the values move only if the total is `expected`. Returns the total.
static int64_t bitmask_with(const bool* mask, uint8_t* bitmask, void* dense, void* kept, MaskShape shape,
                            int64_t value_bytes, int64_t expected) {
    std::vector<int64_t> scratch(Counts::size(shape.blocks()), 0);
    const Counts counts{scratch.data(), shape.blocks()};
    if (shape.words() == 0) return 0;
    if (mask)
        mark_mask(mask, bitmask, shape, counts, 0);
    else
        count_bitmask(bitmask, shape, counts, 0);
    if (total_of(counts) != expected) return total_of(counts);
    const auto move = value_bytes == 1 ? move_of<uint8_t> : value_bytes == 2 ? move_of<uint16_t> : move_of<uint32_t>;
    move(shape, counts, mask, dense, bitmask, kept);
    return expected;
}

// body(a number of type 0 to 3), in the order of emulation.py.
template <class Body> static void for_type(int64_t type, const Body& body) {
    if (type == 0) body(Float16());
    if (type == 1) body(BFloat16());
    if (type == 2) body(float());
    if (type == 3) body(double());
}

extern "C" {
int route(int64_t segments, int64_t length) { return int(route_of(segments, length)); }

#define DEFINE(Scalar)                                                                                                 \
    void select_##Scalar(const Scalar* scores, bool* mask, int64_t segments, int64_t length, int64_t count,            \
                         int64_t route, int64_t by_magnitude) {                                                        \
        select_with(Scores<Scalar>{scores, by_magnitude != 0}, mask, segments, length, count, route);                  \
    }                                                                                                                  \
    void admm_##Scalar(Scalar* x, Scalar* dual, uint8_t* kept, const Scalar* target, bool* pruned,                     \
                       unsigned long long* changed, int64_t numel, int64_t length, int64_t prune, int64_t route,       \
                       double penalty, double next_penalty) {                                                          \
        step_with(AdmmStep<Scalar>::of(x, dual, kept, target, penalty, next_penalty), pruned, changed, numel, length,  \
                  prune, route);                                                                                       \
    }                                                                                                                  \
    void sweep_##Scalar(Scalar* weight, const Scalar* factor, const bool* prune, Scalar* loss, int64_t batch,          \
                        int64_t rows, int64_t cols, int64_t keep, int64_t group) {                                     \
        sweep_rows(Pruning<Scalar>(), weight, factor, prune, loss, batch, rows, int(cols), int(keep), int(group), 0);  \
    }                                                                                                                  \
    void joint_##Scalar(Scalar* weight, const Scalar* factor, const bool* prune, const Scalar* scale,                  \
                        const uint8_t* zero, Scalar* loss, uint8_t* codes, int64_t batch, int64_t rows, int64_t cols,  \
                        int64_t grid_cols, int64_t bits, int64_t keep, int64_t group) {                                \
        sweep_rows(Rounding<Scalar>{scale, zero, codes, grid_cols > 1, Scalar((1 << bits) - 1)}, weight, factor,       \
                   prune, loss, batch, rows, int(cols), int(keep), int(group), 0);                                     \
    }                                                                                                                  \
    void levels_##Scalar(const Scalar* weights, const Scalar* scales, const Scalar* zeros, Scalar* out,                \
                         int64_t count, int64_t top) {                                                                 \
        for (int64_t i = 0; i < count; ++i)                                                                            \
            out[i] = Levels<Scalar>::of(scales[i], zeros[i], Scalar(top)).nearest(weights[i]);                         \
    }                                                                                                                  \
    void factor_##Scalar(const Scalar* symmetric, Scalar* upper, Scalar* inverse, int32_t* failed, int64_t batch,      \
                         int64_t n) {                                                                                  \
        factor_matrices(symmetric, upper, inverse, failed, batch, int(n), 0);                                          \
    }                                                                                                                  \
    void search_##Scalar(const Scalar* weight, Scalar* scale, uint8_t* zero, int64_t segments, int64_t length,         \
                         int64_t bits, int64_t symmetric, int64_t candidates) {                                        \
        search_segments(weight, scale, zero, segments, {length, int(bits), int(candidates), symmetric != 0}, 0);       \
    }                                                                                                                  \
    void quantize_##Scalar(const Scalar* weight, const Scalar* scale, const uint8_t* zero, uint8_t* codes,             \
                           int64_t segments, int64_t length, int64_t bits) {                                           \
        quantize_segments(weight, scale, zero, codes, segments, length, int(bits), 0);                                 \
    }                                                                                                                  \
    void dequantize_##Scalar(const uint8_t* codes, const Scalar* scale, const uint8_t* zero, Scalar* weight,           \
                             int64_t segments, int64_t length) {                                                       \
        dequantize_segments(codes, scale, zero, weight, segments, length, 0);                                          \
    }
DEFINE(float)
DEFINE(double)

void pack_codes(const uint8_t* codes, uint8_t* packed, int64_t rows, int64_t cols, int64_t bits) {
    map_runs<PackCodes>(codes, packed, rows, cols, int(bits), 0);
}
void unpack_codes(const uint8_t* packed, uint8_t* codes, int64_t rows, int64_t cols, int64_t bits) {
    map_runs<UnpackCodes>(packed, codes, rows, cols, int(bits), 0);
}
void quotients(const float* numbers, const float* divisors, float* out, int64_t count) {
    for (int64_t i = 0; i < count; ++i) out[i] = numbers[i] / Divisor<float>::of(divisors[i]);
}
void scan(int64_t* counts, int64_t blocks) { scan_counts({counts, blocks}, 0); }
int64_t pack_bitmask(void* values, const bool* mask, uint8_t* bitmask, void* kept, int64_t rows, int64_t cols,
                     int64_t value_bytes, int64_t count) {
    return bitmask_with(mask, bitmask, values, kept, {rows, cols}, value_bytes, count);
}
int64_t unpack_bitmask(uint8_t* bitmask, void* kept, void* dense, int64_t rows, int64_t cols, int64_t value_bytes,
                       int64_t count) {
    return bitmask_with(nullptr, bitmask, dense, kept, {rows, cols}, value_bytes, count);
}
void weighted_sum(const void* sources, const void* weights, void* out, unsigned long long* not_finite, int64_t rows,
                  int64_t count, int64_t from_type, int64_t sum_type, int64_t to_type) {
    const auto sum_as = [&](auto from, auto sum, auto to) {
        sum_rows(static_cast<const decltype(from)*>(sources), static_cast<const decltype(sum)*>(weights),
                 static_cast<decltype(to)*>(out), not_finite, rows, count, 0);
    };
    for_type(from_type, [&](auto from) {
        for_type(to_type, [&](auto to) { sum_type == 2 ? sum_as(from, float(), to) : sum_as(from, double(), to); });
    });
}
}
