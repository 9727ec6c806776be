// What packed_linear asks of an instruction set: the product of all rows with few tokens, and rows decoded for a
// product elsewhere.
#pragma once
#include <exception>
#include <mutex>

#include <torch/csrc/stable/ops.h>

#include "packed_isa.h"

inline constexpr int FEW_TOKENS = 8;

struct Product {
    const PackedWeight& weight;
    const void *x, *bias; // x [tokens, cols], bias [rows] or null
    void* out;            // [tokens, rows]
    Number number;        // of x, bias and out
    int64_t tokens;

    void put(int64_t token, int64_t row, float sum) const {
        const float offset = bias ? number_at(bias, number, row) : 0.0f;
        put_number(out, number, token * weight.rows + row, sum + offset);
    }
};

// body(first row, last row) on several threads. What it throws is thrown here, with its own type.
template <class Body> void for_rows(const PackedWeight& weight, int64_t begin, int64_t end, const Body& body) {
    constexpr int64_t grain_weights = 1 << 15; // below it one thread is enough
    std::exception_ptr thrown;
    std::mutex mutex;
    torch::stable::parallel_for(begin, end, 1 + grain_weights / (weight.cols + 1), [&](int64_t first, int64_t last) {
        try {
            body(first, last);
        } catch (...) {
            const std::lock_guard lock(mutex);
            thrown = std::current_exception();
        }
    });
    if (thrown) std::rethrow_exception(thrown);
}
