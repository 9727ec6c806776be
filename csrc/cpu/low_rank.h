// What low_rank_rows works on: rows and what becomes of them, directions filled up with zeros to whole tiles.
#pragma once
#include <cstdint>

template <class Scalar> struct LowRank {
    const Scalar* rows; // [n][cols]
    Scalar* out;        // the same, or `rows` themselves
    const Scalar* read; // [directions][width]
    const Scalar* write;
    Scalar* lengths; // [n][2], before and after
    int64_t cols, width, directions;
    Scalar least; // a row that is no longer than this after the change stays as it was
};
