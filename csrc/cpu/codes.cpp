// pack_codes and unpack_codes on the CPU.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include "checks.h"
#include "codes.h"
#include "pieces.h"

// Where a part lies in its packed row.
struct Range {
    int64_t begin, bytes;
    Range(const Piece& piece, int64_t cols, int64_t stride, int bits)
        : begin(piece.first_col / 8 * bits),
          bytes((piece.last_col == cols ? stride : piece.last_col / 8 * bits) - begin) {}
};

template <int BITS> static void pack_all(const Tensor& codes, Tensor& packed) {
    const auto* in = static_cast<const uint8_t*>(codes.data_ptr());
    auto* out = static_cast<uint8_t*>(packed.data_ptr());
    const int64_t cols = codes.size(1), stride = packed.size(1);
    Pieces(codes.size(0), cols).for_each([=](int64_t, const Piece& piece) {
        const Range range(piece, cols, stride, BITS);
        for (int64_t r = piece.first_row; r < piece.last_row; ++r)
            pack_part<BITS>(in + r * cols + piece.first_col, piece.cols(), out + r * stride + range.begin, range.bytes);
    });
}

template <int BITS> static void unpack_all(const Tensor& packed, Tensor& codes) {
    const auto* in = static_cast<const uint8_t*>(packed.data_ptr());
    auto* out = static_cast<uint8_t*>(codes.data_ptr());
    const int64_t cols = codes.size(1), stride = packed.size(1);
    Pieces(codes.size(0), cols).for_each([=](int64_t, const Piece& piece) {
        const Range range(piece, cols, stride, BITS);
        for (int64_t r = piece.first_row; r < piece.last_row; ++r)
            unpack_part<BITS>(in + r * stride + range.begin, range.bytes, out + r * cols + piece.first_col,
                              piece.cols());
    });
}

Tensor pack_codes(const Tensor& codes, int64_t bits) {
    check_bytes(codes, "codes");
    Tensor packed = torch::stable::new_empty(codes, {codes.size(0), packed_bytes(codes.size(1), bits)});
    for_bits(bits, [&](auto width) { pack_all<width>(codes, packed); });
    return packed;
}

Tensor unpack_codes(const Tensor& packed, int64_t bits, int64_t cols) {
    check_bytes(packed, "packed");
    const int64_t bytes = packed_bytes(cols, bits);
    require(packed.size(1) == bytes, "packed: expected ", bytes, " bytes a row, got ", packed.size(1), ".");
    Tensor codes = torch::stable::new_empty(packed, {packed.size(0), cols});
    for_bits(bits, [&](auto width) { unpack_all<width>(packed, codes); });
    return codes;
}

STABLE_TORCH_LIBRARY_IMPL(fmcompress, CPU, m) {
    m.impl("pack_codes", TORCH_BOX(&pack_codes));
    m.impl("unpack_codes", TORCH_BOX(&unpack_codes));
}
