// What low_rank_rows_ and nearest_rows work on: rows, and directions filled up with zeros to whole tiles.
#pragma once
#include <cstdint>

template <class Scalar> struct Rows {
    const Scalar* rows; // [count][cols]
    const Scalar* read; // [directions][width]
    int64_t count, cols, width, directions;
};

template <class Scalar> struct LowRank : Rows<Scalar> {
    Scalar* out;         // [count][cols], or `rows` themselves
    const Scalar* write; // [directions][width]
    Scalar* lengths;     // [2][count], before and after
    Scalar least;        // a row that is no longer than this after the change stays as it was
};

template <class Scalar> struct Nearest : Rows<Scalar> {
    int64_t targets; // of the directions; the others are filling
    int64_t* index;  // [count]
    Scalar* product; // [count]
    Scalar* length;  // [count]
};
