// A matrix cut into pieces for threads: some whole rows, or a part of one row that is long.
#pragma once
#include <algorithm>

#include <torch/csrc/stable/ops.h>

#include "common.h"

struct Piece {
    int64_t first_row, last_row, first_col, last_col; // the last ones excluded

    int64_t cols() const { return last_col - first_col; }
};

class Pieces {
  public:
    Pieces(int64_t rows, int64_t cols)
        : rows(rows), cols(cols), parts((cols + LENGTH - 1) / LENGTH),
          rows_each(std::max<int64_t>(1, LENGTH / (cols + 1))) {}

    // None of an empty matrix.
    int64_t count() const { return (rows + rows_each - 1) / rows_each * parts; }

    Piece operator[](int64_t i) const {
        const int64_t row = i / parts * rows_each, col = i % parts * LENGTH;
        return {row, std::min(rows, row + rows_each), col, std::min(cols, col + LENGTH)};
    }

    // body(index, piece), on several threads.
    template <class Body> void for_each(const Body& body) const {
        torch::stable::parallel_for(0, count(), 1, [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i) body(i, (*this)[i]);
        });
    }

  private:
    static constexpr int64_t LENGTH = 1 << 16; // so a part begins at a whole word of codes or bits
    int64_t rows, cols;
    int64_t parts; // of a row
    int64_t rows_each;
};
