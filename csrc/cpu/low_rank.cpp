// low_rank_rows_ and nearest_rows on the CPU: many rows and few directions, in one pass over memory. The products are
// nearly all of the work, so that rows come into the cache while those before them are in the registers.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized" // of the AVX-512 intrinsics of GCC 12
#endif

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/headeronly/core/ScalarType.h>

#include "checks.h"
#include "isa.h"
#include "low_rank.h"
#include "ops.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

using torch::headeronly::ScalarType;
using torch::stable::parallel_for;

namespace baseline {
#define LANE_BYTES 16
#define STORE_PAST(to, lanes) memcpy(to, &(lanes), sizeof(lanes))
#include "vector-inl.h"
#include "rows-inl.h"
#include "low_rank-inl.h"
#include "nearest-inl.h"
#undef STORE_PAST
#undef LANE_BYTES
} // namespace baseline

#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("avx2,fma")
namespace avx2 {
#define LANE_BYTES 32
#define STORE_PAST(to, lanes) _mm256_stream_si256(reinterpret_cast<__m256i*>(to), (__m256i)(lanes))
#include "vector-inl.h"
#include "rows-inl.h"
#include "low_rank-inl.h"
#include "nearest-inl.h"
#undef STORE_PAST
#undef LANE_BYTES
} // namespace avx2
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512vl,avx512dq")
namespace avx512 {
#define LANE_BYTES 64
#define STORE_PAST(to, lanes) _mm512_stream_si512(reinterpret_cast<__m512i*>(to), (__m512i)(lanes))
#include "vector-inl.h"
#include "rows-inl.h"
#include "low_rank-inl.h"
#include "nearest-inl.h"
#undef STORE_PAST
#undef LANE_BYTES
} // namespace avx512
#pragma GCC pop_options
#endif

static int64_t rounded_up(int64_t count, int64_t step) { return (count + step - 1) / step * step; }

// Whole tiles of directions, whole vectors of columns.
template <class Scalar> static std::vector<Scalar> padded(const Tensor& directions, int64_t count, int64_t width) {
    std::vector<Scalar> wide(count * width);
    const auto* from = static_cast<const Scalar*>(directions.data_ptr());
    for (int64_t d = 0; d < directions.size(0); ++d)
        std::copy_n(from + d * directions.size(1), directions.size(1), wide.data() + d * width);
    return wide;
}

template <class Scalar>
static Rows<Scalar> described(const Tensor& rows, const std::vector<Scalar>& read, int64_t directions, int64_t width) {
    return {static_cast<const Scalar*>(rows.data_ptr()), read.data(), rows.size(0), rows.size(1), width, directions};
}

template <class Scalar> static void run(Tensor& out, const Tensor& rows, const Tensor& read, const Tensor& write,
                                        double least, Tensor& lengths) {
    const int64_t count = rounded_up(read.size(0), 4), width = rounded_up(rows.size(1), 256 / sizeof(Scalar));
    const auto wide_read = padded<Scalar>(read, count, width), wide_write = padded<Scalar>(write, count, width);
    const LowRank<Scalar> job{described(rows, wide_read, count, width), static_cast<Scalar*>(out.data_ptr()),
                              wide_write.data(), static_cast<Scalar*>(lengths.data_ptr()), static_cast<Scalar>(least)};
    const auto change_rows = WIDEST_FOR_THIS_CPU(change_rows<Scalar>);
    parallel_for(0, rows.size(0), 1024, [&](int64_t begin, int64_t end) { change_rows(job, begin, end); });
}

Tensor low_rank_rows_(Tensor out, const Tensor& rows, const Tensor& read, const Tensor& write, double least) {
    check_floats(rows, "rows");
    check_floats(read, "read");
    check_tensor(out, "out", rows.scalar_type(), {rows.size(0), rows.size(1)}, rows);
    check_tensor(read, "read", rows.scalar_type(), {read.size(0), rows.size(1)}, rows);
    check_tensor(write, "write", rows.scalar_type(), {read.size(0), rows.size(1)}, rows);
    Tensor lengths = torch::stable::new_empty(rows, {2, rows.size(0)});
    if (rows.scalar_type() == ScalarType::Double)
        run<double>(out, rows, read, write, least, lengths);
    else
        run<float>(out, rows, read, write, least, lengths);
    return lengths;
}

template <class Scalar>
static void find(const Tensor& rows, const Tensor& targets, Tensor& index, Tensor& product, Tensor& length) {
    const int64_t count = rounded_up(targets.size(0), 4), width = rounded_up(rows.size(1), 256 / sizeof(Scalar));
    const auto wide = padded<Scalar>(targets, count, width);
    const Nearest<Scalar> job{described(rows, wide, count, width), targets.size(0),
                              static_cast<int64_t*>(index.data_ptr()), static_cast<Scalar*>(product.data_ptr()),
                              static_cast<Scalar*>(length.data_ptr())};
    const auto find_nearest = WIDEST_FOR_THIS_CPU(find_nearest<Scalar>);
    parallel_for(0, rows.size(0), 1024, [&](int64_t begin, int64_t end) { find_nearest(job, begin, end); });
}

std::tuple<Tensor, Tensor, Tensor> nearest_rows(const Tensor& rows, const Tensor& targets) {
    check_floats(rows, "rows");
    check_floats(targets, "targets");
    check_tensor(targets, "targets", rows.scalar_type(), {targets.size(0), rows.size(1)}, rows);
    STD_TORCH_CHECK(targets.size(0) > 0, "targets: expected at least one row");
    Tensor index = torch::stable::new_empty(rows, {rows.size(0)}, ScalarType::Long);
    Tensor product = torch::stable::new_empty(rows, {rows.size(0)});
    Tensor length = torch::stable::new_empty(rows, {rows.size(0)});
    if (rows.scalar_type() == ScalarType::Double)
        find<double>(rows, targets, index, product, length);
    else
        find<float>(rows, targets, index, product, length);
    return {index, product, length};
}

STABLE_TORCH_LIBRARY_IMPL(fmcompress, CPU, m) {
    m.impl("low_rank_rows_", TORCH_BOX(&low_rank_rows_));
    m.impl("nearest_rows", TORCH_BOX(&nearest_rows));
}
