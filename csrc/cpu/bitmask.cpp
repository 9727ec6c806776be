// pack_bitmask and unpack_bitmask on the CPU. Two passes over pieces of the matrix: how many values each keeps, from
// which follows where they lie, then the values.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized" // of the AVX-512 intrinsics of GCC 12
#endif

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>
#include <vector>

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/headeronly/core/ScalarType.h>

#include "checks.h"
#include "isa.h"
#include "octets.h"
#include "ops.h"
#include "pieces.h"

using torch::headeronly::ScalarType;

static_assert(std::endian::native == std::endian::little, "byte 0 of a word must be its lowest");

namespace baseline {
#include "bitmask-inl.h"
#include "expand-inl.h"
} // namespace baseline

#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("avx2,fma")
namespace avx2 {
#include "bitmask-inl.h"
#include "expand-inl.h"
} // namespace avx2
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2,fma,popcnt,avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2")
namespace avx512 {
// Of bytes, whose mask in memory is as large as they are: 64 at a time.
static uint8_t* compact_row(const uint8_t* values, const uint8_t* bits, int64_t count, uint8_t* to, uint8_t* end) {
    int64_t i = 0;
    for (uint64_t mask; i + 64 <= count && end - to >= 64; i += 64) {
        memcpy(&mask, bits + i / 8, 8);
        // to a register and then stored whole: compressing into memory is microcode on Zen
        _mm512_storeu_si512(to, _mm512_maskz_compress_epi8(mask, _mm512_loadu_si512(values + i)));
        to += __builtin_popcountll(mask);
    }
    return avx2::compact_row(values + i, bits + i / 8, count - i, to, end);
}
} // namespace avx512
#pragma GCC pop_options
#endif

static int64_t mask_bytes(int64_t cols) { return (cols + 7) / 8; }

// Counts become the places where each piece begins; the total is appended.
static void accumulate(std::vector<int64_t>& counts) {
    int64_t total = 0;
    for (auto& count : counts) total += std::exchange(count, total);
    counts.push_back(total);
}

// Run body with an unsigned integer of the size of one value.
template <class Body> static void for_size_of(const Tensor& values, const Body& body) {
    const size_t bytes = values.element_size();
    require(bytes == 1 || bytes == 2 || bytes == 4, "values: expected a dtype of 1, 2 or 4 bytes, got ", bytes, ".");
    if (bytes == 1) body(uint8_t());
    if (bytes == 2) body(uint16_t());
    if (bytes == 4) body(uint32_t());
}

template <class Value> static void compact_all(const Tensor& values, const Tensor& bitmask, Tensor& kept,
                                               const Pieces& pieces, const std::vector<int64_t>& places) {
    const auto* in = static_cast<const Value*>(values.data_ptr());
    const auto* bits = static_cast<const uint8_t*>(bitmask.data_ptr());
    auto* out = static_cast<Value*>(kept.data_ptr());
    const int64_t cols = values.size(1), stride = bitmask.size(1);
    auto compact_row = FOR_THIS_CPU(compact_row<Value>);
#if defined(__x86_64__)
    if constexpr (sizeof(Value) == 1)
        if (current_isa() >= Isa::avx512) compact_row = avx512::compact_row;
#endif
    pieces.for_each([&](int64_t i, const Piece& piece) {
        Value *to = out + places[i], *end = out + places[i + 1];
        for (int64_t r = piece.first_row; r < piece.last_row; ++r)
            to = compact_row(in + r * cols + piece.first_col, bits + r * stride + piece.first_col / 8, piece.cols(), to,
                             end);
    });
}

std::tuple<Tensor, Tensor> pack_bitmask(const Tensor& values, const Tensor& mask, int64_t count) {
    CHECK_LAYOUT(values);
    check_tensor(mask, "mask", ScalarType::Bool, {values.size(0), values.size(1)}, values);
    const int64_t rows = values.size(0), cols = values.size(1), stride = mask_bytes(cols);
    Tensor bitmask = torch::stable::new_empty(values, {rows, stride}, ScalarType::Byte);
    const auto* flags = static_cast<const uint8_t*>(mask.data_ptr());
    auto* bits = static_cast<uint8_t*>(bitmask.data_ptr());
    const auto pack_bits = FOR_THIS_CPU(pack_bits);
    const Pieces pieces(rows, cols);
    std::vector<int64_t> places(pieces.count());
    pieces.for_each([&](int64_t i, const Piece& piece) {
        int64_t set = 0;
        for (int64_t r = piece.first_row; r < piece.last_row; ++r)
            set += pack_bits(flags + r * cols + piece.first_col, bits + r * stride + piece.first_col / 8, piece.cols());
        places[i] = set;
    });
    accumulate(places);
    require(places.back() == count, "count: expected ", places.back(), ", the number of True in mask, got ", count,
            ".");
    Tensor kept = torch::stable::new_empty(values, {count});
    for_size_of(values, [&](auto value) { compact_all<decltype(value)>(values, bitmask, kept, pieces, places); });
    return {bitmask, kept};
}

// Where the values of each piece begin, and at the end how many there are; -1 for a piece with a bit after its row.
static std::vector<int64_t> places_of(const uint8_t* bits, int64_t cols, const Pieces& pieces) {
    const int64_t stride = mask_bytes(cols);
    const auto count_bits = FOR_THIS_CPU(count_bits);
    std::vector<int64_t> places(pieces.count());
    pieces.for_each([&](int64_t i, const Piece& piece) {
        int64_t set = 0, stray = 0;
        for (int64_t r = piece.first_row; r < piece.last_row; ++r) {
            const uint8_t* row = bits + r * stride;
            set += count_bits(row + piece.first_col / 8, mask_bytes(piece.cols()));
            if (cols % 8) stray |= row[stride - 1] >> cols % 8;
        }
        places[i] = stray ? -1 : set;
    });
    return places;
}

template <class Value> static void expand_all(const Tensor& bitmask, const Tensor& kept, Tensor& dense,
                                              const Pieces& pieces, const std::vector<int64_t>& places) {
    const auto* bits = static_cast<const uint8_t*>(bitmask.data_ptr());
    const auto* in = static_cast<const Value*>(kept.data_ptr());
    auto* out = static_cast<Value*>(dense.data_ptr());
    const int64_t cols = dense.size(1), stride = bitmask.size(1);
    const auto expand_row = FOR_THIS_CPU(expand_row<Value>);
    pieces.for_each([&](int64_t i, const Piece& piece) {
        const Value *from = in + places[i], *end = in + places.back();
        for (int64_t r = piece.first_row; r < piece.last_row; ++r)
            from = expand_row(from, end, bits + r * stride + piece.first_col / 8, piece.cols(),
                              out + r * cols + piece.first_col);
    });
}

Tensor unpack_bitmask(const Tensor& bitmask, const Tensor& kept, int64_t cols) {
    check_bytes(bitmask, "bitmask");
    CHECK_LAYOUT(kept);
    require(cols >= 0 && kept.dim() == 1, "kept: expected 1 dimension, got ", kept.dim(), ".");
    const int64_t rows = bitmask.size(0), stride = mask_bytes(cols);
    require(bitmask.size(1) == stride, "bitmask: expected ", stride, " bytes a row, got ", bitmask.size(1), ".");
    const Pieces pieces(rows, cols);
    std::vector<int64_t> places = places_of(static_cast<const uint8_t*>(bitmask.data_ptr()), cols, pieces);
    const bool stray = std::ranges::find(places, -1) != places.end();
    require(!stray, "bitmask: expected no bit after the last of ", cols, " columns.");
    accumulate(places);
    require(places.back() == kept.size(0), "kept: the bitmask counts ", places.back(), " values of ", cols,
            " columns a row, got ", kept.size(0), ".");
    Tensor dense = torch::stable::new_empty(kept, {rows, cols});
    for_size_of(kept, [&](auto value) { expand_all<decltype(value)>(bitmask, kept, dense, pieces, places); });
    return dense;
}

STABLE_TORCH_LIBRARY_IMPL(fmcompress, CPU, m) {
    m.impl("pack_bitmask", TORCH_BOX(&pack_bitmask));
    m.impl("unpack_bitmask", TORCH_BOX(&unpack_bitmask));
}
