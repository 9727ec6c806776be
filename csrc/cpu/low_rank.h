// What low_rank_rows works on: rows and what becomes of them, directions filled up with zeros to whole tiles.
#pragma once
#include <cstdint>

template <class Scalar> struct LowRank {
    const Scalar* rows; // [count][cols]
    Scalar* out;        // the same, or `rows` themselves
    const Scalar* read; // [directions][width]
    const Scalar* write;
    Scalar* lengths; // [2][count], before and after
    int64_t count, cols, width, directions;
    Scalar least; // a row that is no longer than this after the change stays as it was
};
