// Vectors of one instruction set, and the way of a matrix into them: rows in memory become columns in vectors and back,
// a square of vectors at a time. A matrix of bytes goes as words: a lane then holds the bytes of as many neighbouring
// columns as fit, lowest first.
// Included once per instruction set, inside a namespace of its own and with LANE_BYTES, the width of a vector, defined
// (see sweep.cpp); no include guard on purpose.

template <class Scalar> struct Vector {
    static constexpr int lanes = LANE_BYTES / sizeof(Scalar);
    using Word = std::conditional_t<sizeof(Scalar) == 4, int32_t, int64_t>;
    typedef Scalar Lanes __attribute__((vector_size(LANE_BYTES)));
    typedef Word Words __attribute__((vector_size(LANE_BYTES)));
};

template <class Scalar> using Lanes = typename Vector<Scalar>::Lanes;
template <class Scalar> using Words = typename Vector<Scalar>::Words;

// Lane K of the result is lane PICK of a and b in a row.
template <class Scalar, int... PICK> static Lanes<Scalar> shuffled(Lanes<Scalar> a, Lanes<Scalar> b) {
#ifdef __clang__
    return __builtin_shufflevector(a, b, PICK...);
#else
    return __builtin_shuffle(a, b, Words<Scalar>{PICK...});
#endif
}

// One step of a transposition: blocks of STEP x STEP beside the diagonal change places.
template <class Scalar, int STEP, int... K>
[[gnu::always_inline]] inline void exchange(Lanes<Scalar>* square, std::integer_sequence<int, K...>) {
    constexpr int lanes = sizeof...(K);
    for (int i = 0; i < lanes; ++i) {
        if (i & STEP) continue;
        const Lanes<Scalar> a = square[i], b = square[i + STEP];
        square[i] = shuffled<Scalar, (K & STEP ? K - STEP + lanes : K)...>(a, b);
        square[i + STEP] = shuffled<Scalar, (K & STEP ? K + lanes : K + STEP)...>(a, b);
    }
}

template <class Scalar> [[gnu::always_inline]] inline void transpose(Lanes<Scalar>* square) {
    constexpr auto all = std::make_integer_sequence<int, Vector<Scalar>::lanes>();
    exchange<Scalar, 1>(square, all);
    if constexpr (Vector<Scalar>::lanes > 2) exchange<Scalar, 2>(square, all);
    if constexpr (Vector<Scalar>::lanes > 4) exchange<Scalar, 4>(square, all);
}

// How much of a square lies in the matrix.
template <class Scalar> struct Extent {
    int64_t rows, bytes;
    bool whole() const { return rows >= Vector<Scalar>::lanes && bytes >= LANE_BYTES; }
    bool has_column(int k) const { return k * static_cast<int64_t>(sizeof(Scalar)) < bytes; }
};

// WHOLE: the extent is, and the compiler knows it, so that the square stays in registers.
template <class Scalar, bool WHOLE, class Column> [[gnu::always_inline]] inline void
load_square(const char* from, int64_t stride, Extent<Scalar> extent, const Column& column) {
    constexpr int lanes = Vector<Scalar>::lanes;
    Lanes<Scalar> square[lanes] = {};
    for (int r = 0; r < lanes; ++r)
        if (WHOLE || r < extent.rows) memcpy(&square[r], from + r * stride, WHOLE ? LANE_BYTES : extent.bytes);
    transpose<Scalar>(square);
    for (int k = 0; k < lanes; ++k)
        if (WHOLE || extent.has_column(k)) column(k) = square[k];
}

template <class Scalar, bool WHOLE, class Column>
[[gnu::always_inline]] inline void store_square(char* to, int64_t stride, Extent<Scalar> extent, const Column& column) {
    constexpr int lanes = Vector<Scalar>::lanes;
    Lanes<Scalar> square[lanes] = {};
    for (int k = 0; k < lanes; ++k)
        if (WHOLE || extent.has_column(k)) square[k] = column(k);
    transpose<Scalar>(square);
    for (int r = 0; r < lanes; ++r)
        if (WHOLE || r < extent.rows) memcpy(to + r * stride, &square[r], WHOLE ? LANE_BYTES : extent.bytes);
}

// Every square of a matrix of rows of row_bytes bytes: visit(place of its first byte, v, first column, extent).
template <class Scalar, int VECTORS, class Visit>
static void for_squares(int64_t rows, int64_t row_bytes, const Visit& visit) {
    constexpr int lanes = Vector<Scalar>::lanes;
    for (int v = 0; v < VECTORS; ++v)
        for (int64_t begin = 0; begin < row_bytes; begin += LANE_BYTES) {
            const int64_t bytes = row_bytes - begin < LANE_BYTES ? row_bytes - begin : LANE_BYTES;
            visit(v * lanes * row_bytes + begin, v, begin / sizeof(Scalar), Extent<Scalar>{rows - v * lanes, bytes});
        }
}

// The matrix becomes columns[k][v]; rows that are not there are zero.
template <class Scalar, int VECTORS>
static void load_columns(Lanes<Scalar> (*columns)[VECTORS], const void* from, int64_t rows, int64_t row_bytes) {
    for_squares<Scalar, VECTORS>(rows, row_bytes, [=](int64_t place, int v, int64_t first, Extent<Scalar> extent) {
        const char* begin = static_cast<const char*>(from) + place;
        const auto column = [=](int k) -> auto& { return columns[first + k][v]; };
        if (extent.whole())
            load_square<Scalar, true>(begin, row_bytes, extent, column);
        else
            load_square<Scalar, false>(begin, row_bytes, extent, column);
    });
}

// The way back.
template <class Scalar, int VECTORS>
static void store_columns(const Lanes<Scalar> (*columns)[VECTORS], void* to, int64_t rows, int64_t row_bytes) {
    for_squares<Scalar, VECTORS>(rows, row_bytes, [=](int64_t place, int v, int64_t first, Extent<Scalar> extent) {
        char* begin = static_cast<char*>(to) + place;
        const auto column = [=](int k) -> auto& { return columns[first + k][v]; };
        if (extent.whole())
            store_square<Scalar, true>(begin, row_bytes, extent, column);
        else
            store_square<Scalar, false>(begin, row_bytes, extent, column);
    });
}
