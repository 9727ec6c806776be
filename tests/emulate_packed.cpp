// packed_linear of csrc/cuda behind plain C functions, as in emulate_kernels.cpp; tests/packed_emulation.py calls them.
#include "packed_linear.cuh"
#include "packed_mma.cuh"
#include "emulated_calls.h"

using namespace gpu;

struct Sizes { // as in packed_emulation.py
    int64_t tokens, rows, cols, number, entries_bytes, row_bytes, values, bits, scales, group_size, groups, keep, group;
};

struct Pointers {
    const void *x, *entries, *bitmask, *starts, *indices, *scale, *zero, *bias;
    void* out;
};

static PackedWeight packed(const Pointers& at, const Sizes& size) {
    PackedWeight weight{};
    weight.rows = size.rows;
    weight.cols = size.cols;
    weight.bitmask = static_cast<const uint8_t*>(at.bitmask);
    weight.starts = static_cast<const int64_t*>(at.starts);
    weight.indices = static_cast<const uint8_t*>(at.indices);
    weight.keep = int(size.keep);
    weight.group = int(size.group);
    weight.entries = static_cast<const uint8_t*>(at.entries);
    weight.entries_bytes = size.entries_bytes;
    weight.row_bytes = size.row_bytes;
    weight.values = Number(size.values);
    weight.bits = int(size.bits);
    weight.scale = at.scale;
    weight.scales = Number(size.scales);
    weight.zero = static_cast<const uint8_t*>(at.zero);
    weight.groups = size.groups;
    weight.group_size = size.group_size;
    weight.zero_bytes = ceil_div(size.groups * size.bits, 32) * 4;
    if (weight.indices) weight.index_bytes = ceil_div(weight.kept_of_row() * index_bits(weight.group), 32) * 4;
    return weight;
}

extern "C" {
int takes_few(const Pointers& at, const Sizes& size) {
    return size.tokens <= MOST_TOKENS && Packed(packed(at, size)).regular;
}
int takes_mma(const Pointers& at, const Sizes& size) {
    const Packed weight(packed(at, size));
    bool takes = false;
    with_number(Number(size.number), [&](auto number) {
        takes = fits_mma(weight, Linear<decltype(number)>(weight, at.x, at.bias, at.out, size.tokens));
    });
    return takes && takes_few(at, size);
}
void few(const Pointers& at, const Sizes& size) {
    const Packed weight(packed(at, size));
    with_number(Number(size.number), [&](auto number) {
        using Scalar = decltype(number);
        const Linear<Scalar> linear(weight, at.x, at.bias, at.out, size.tokens);
        if constexpr (!std::is_same_v<Scalar, float>)
            if (fits_mma(weight, linear)) return few_tokens_mma(weight, linear, 0);
        few_tokens(weight, linear, 0);
    });
}
void decode(const Pointers& at, const Sizes& size, void* to, int64_t first, int64_t rows) {
    with_number(Number(size.number),
                [&](auto number) { decode_rows<decltype(number)>(Packed(packed(at, size)), to, first, rows, 0); });
}
void place(const Pointers& at, const Sizes& size, const void* sums, int64_t first, int64_t some) {
    const PackedWeight weight = packed(at, size);
    with_number(Number(size.number), [&](auto number) {
        place_sums(Linear<decltype(number)>(weight, at.x, at.bias, at.out, size.tokens), sums, size.rows, first, some,
                   0);
    });
}
}
