// One body for every unit of every row of a matrix: the launch of kernels that stream. Free of torch.
#pragma once
#include "device.cuh"

namespace gpu {
constexpr int MAP_THREADS = 256;
constexpr int64_t UNITS_PER_THREAD = 4; // where the rows are long: an estimate, not yet measured on a GPU
constexpr int64_t MAX_GRID_Y = 65535;

// Threads side by side on `units` neighbours: a power of two, so that whole rows fill a block or a warp.
inline int lanes_over(int64_t units, int most) {
    int lanes = 1;
    while (lanes < most && lanes < units) lanes *= 2;
    return lanes;
}

// `lanes` threads to a row, no division of a 64-bit index; the body is called with row and unit.
template <class Body> __global__ void __launch_bounds__(MAP_THREADS)
    map_kernel(Body body, int64_t rows, int64_t units, int lanes) {
    const int64_t row = int64_t(blockIdx.x) * (MAP_THREADS / lanes) + threadIdx.x / lanes;
    if (row >= rows) return;
    const int64_t step = int64_t(gridDim.y) * lanes;
    for (int64_t unit = int64_t(blockIdx.y) * lanes + threadIdx.x % lanes; unit < units; unit += step) body(row, unit);
}

template <class Body> void map_rows(const Body& body, int64_t rows, int64_t units, Stream stream) {
    if (rows == 0 || units == 0) return;
    const int lanes = lanes_over(units, MAP_THREADS);
    const int64_t blocks = ceil_div(rows, MAP_THREADS / lanes), pieces = ceil_div(units, lanes * UNITS_PER_THREAD);
    launch(map_kernel<Body>, dim3(unsigned(blocks), unsigned(pieces < MAX_GRID_Y ? pieces : MAX_GRID_Y)), MAP_THREADS,
           size_t(0), stream, body, rows, units, lanes);
}
} // namespace gpu
