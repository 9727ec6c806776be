// The kernels of csrc/cuda behind plain C functions, run on the CPU through cuda_shim.h; tests/emulation.py builds and
// loads them.
#include <utility>
#include <vector>

#include "select.cuh"
#include "sweep.cuh"

using namespace gpu;

template <class Scalar> static void select_with(const Scalar* scores, bool* mask, int64_t segments, int64_t length,
                                                int64_t count, int64_t route) {
    const int64_t steps = segments * passes_over<Scalar>(length);
    std::vector<uint32_t> histograms(steps * BINS, 0);
    std::vector<Search<Scalar>> searches(steps);
    select_segments(scores, mask, segments, length, count, Route(route), {histograms.data(), searches.data()}, 0);
}

extern "C" {
const char* failure() { return std::exchange(shim::failure, nullptr); }
void turn_around(bool backwards) { shim::backwards = backwards; }
int route(int64_t segments, int64_t length) { return int(route_of(segments, length)); }

void select_float(const float* scores, bool* mask, int64_t segments, int64_t length, int64_t count, int64_t route) {
    select_with(scores, mask, segments, length, count, route);
}
void select_double(const double* scores, bool* mask, int64_t segments, int64_t length, int64_t count, int64_t route) {
    select_with(scores, mask, segments, length, count, route);
}
void sweep_float(float* weight, const float* factor, const bool* prune, float* loss, int64_t rows, int64_t cols,
                 int64_t keep, int64_t group) {
    sweep_rows(weight, factor, prune, loss, rows, int(cols), int(keep), int(group), 0);
}
void sweep_double(double* weight, const double* factor, const bool* prune, double* loss, int64_t rows, int64_t cols,
                  int64_t keep, int64_t group) {
    sweep_rows(weight, factor, prune, loss, rows, int(cols), int(keep), int(group), 0);
}
}
