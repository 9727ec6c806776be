// One matrix of factor_block, written once per instruction set (see factor.cpp): no include guard on purpose.

// Its columns are worked at DEPTH at a time, from right to left.
template <class Scalar> struct FactorRoom {
    static constexpr int lanes = Vector<Scalar>::lanes;
    int n, stride; // rows begin where vectors do
    Scalar *a, *x; // [n up to a whole DEPTH][stride]: R and what is left of A; R^-1 and what is to become of it
    Scalar* columns[DEPTH]; // [stride] each

    static int64_t scalars(int n) { return int64_t(2 * (n + DEPTH) + DEPTH) * (n + lanes); }

    FactorRoom(int n_in, Scalar* room) : n(n_in), stride((n_in + lanes - 1) / lanes * lanes), a(room) {
        const int64_t matrix = int64_t(n + DEPTH) * stride;
        x = a + matrix;
        for (int q = 0; q < DEPTH; ++q) columns[q] = x + matrix + q * stride;
    }
};

// to[j] -= sum of factors[q] * rows[q][j], from the vector of column `begin` to that of column `end`.
template <class Scalar> [[gnu::always_inline]] inline void subtract(Scalar* to, const Scalar* factors,
                                                                    const Scalar* const* rows, int begin, int end) {
    constexpr int lanes = Vector<Scalar>::lanes;
    for (int j = begin / lanes * lanes; j < end; j += lanes) {
        Lanes<Scalar> sum, row;
        memcpy(&sum, to + j, sizeof sum);
        for (int q = 0; q < DEPTH; ++q) {
            memcpy(&row, rows[q] + j, sizeof row);
            sum -= factors[q] * row;
        }
        memcpy(to + j, &sum, sizeof sum);
    }
}

// Columns begin to begin + DEPTH of R, and the rows of R^-1 beside them. False unless all pivots are positive.
template <class Scalar> static bool factor_columns(FactorRoom<Scalar>& room, int begin) {
    const int end = begin + DEPTH < room.n ? begin + DEPTH : room.n, stride = room.stride;
    for (int i = 0; i < end; ++i)
        for (int q = 0; q < DEPTH; ++q) room.columns[q][i] = begin + q < end ? room.a[i * stride + begin + q] : 0;
    bool positive = true;
    for (int k = end - 1; k >= begin; --k) {
        Scalar *column = room.columns[k - begin], *row = room.x + k * stride;
        const Scalar square = column[k], root = std::sqrt(square);
        positive &= square > 0 && square <= std::numeric_limits<Scalar>::max();
        row[k] = 1;
        for (int j = k; j < room.n; ++j) row[j] /= root;
        for (int i = 0; i < k; ++i) column[i] /= root;
        column[k] = root;
        for (int left = begin; left < k; ++left) {
            Scalar *other = room.columns[left - begin], *above = room.x + left * stride;
            const Scalar factor = column[left];
            for (int i = 0; i <= left; ++i) other[i] -= factor * column[i];
            for (int j = k; j < room.n; ++j) above[j] -= factor * row[j];
        }
    }
    for (int i = 0; i < end; ++i)
        for (int k = begin < i ? i : begin; k < end; ++k) room.a[i * stride + k] = room.columns[k - begin][i];
    return positive;
}

template <class Scalar>
static bool factor_matrix(const Scalar* symmetric, Scalar* upper, Scalar* inverse, int n, Scalar* memory) {
    FactorRoom<Scalar> room(n, memory);
    const int stride = room.stride;
    for (int i = 0; i < n; ++i) memcpy(room.a + i * stride, symmetric + i * n, n * sizeof(Scalar));
    bool positive = true;
    for (int begin = (n - 1) / DEPTH * DEPTH; begin >= 0; begin -= DEPTH) {
        positive &= factor_columns(room, begin);
        const Scalar *columns[DEPTH], *rows[DEPTH];
        for (int q = 0; q < DEPTH; ++q) {
            columns[q] = room.columns[q];
            rows[q] = room.x + (begin + q) * stride;
            for (int i = begin; i < stride; ++i) room.columns[q][i] = 0; // R is done from here on
        }
        for (int i = 0; i < begin; ++i) {
            Scalar factors[DEPTH];
            for (int q = 0; q < DEPTH; ++q) factors[q] = columns[q][i];
            subtract(room.a + i * stride, factors, columns, i, begin);
            subtract(room.x + i * stride, factors, rows, begin, n);
        }
    }
    for (int i = 0; i < n; ++i) {
        memset(upper + i * n, 0, i * sizeof(Scalar));
        memcpy(upper + i * (n + 1), room.a + i * (stride + 1), (n - i) * sizeof(Scalar));
        memset(inverse + i * n, 0, i * sizeof(Scalar));
        memcpy(inverse + i * (n + 1), room.x + i * (stride + 1), (n - i) * sizeof(Scalar));
    }
    return positive;
}
