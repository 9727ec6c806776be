// Rows changed along few directions, a few rows at a time, which stay in the cache between the two products.
// Included once per instruction set, after rows-inl.h (see low_rank.cpp); no include guard on purpose.

// to[r] = row r + sum over d of along[r][d] * direction d; squares[0][r] and [1][r]: sums of squares before and after
template <class Scalar> static void write_rows(const LowRank<Scalar>& job, const Scalar* rows, const Scalar* along,
                                               Scalar* to, Scalar (*squares)[TILE_ROWS]) {
    constexpr int lanes = Vector<Scalar>::lanes;
    Lanes<Scalar> before[TILE_ROWS] = {}, after[TILE_ROWS] = {};
    for (int64_t i = 0; i < job.width; i += TILE * lanes) {
        Lanes<Scalar> sums[TILE_ROWS][TILE];
        for (int r = 0; r < TILE_ROWS; ++r)
            for (int t = 0; t < TILE; ++t) {
                sums[r][t] = load(rows + r * job.width + i + t * lanes);
                before[r] += sums[r][t] * sums[r][t];
            }
        for (int64_t d = 0; d < job.directions; ++d) {
            Lanes<Scalar> direction[TILE];
            for (int t = 0; t < TILE; ++t) direction[t] = load(job.write + d * job.width + i + t * lanes);
            for (int r = 0; r < TILE_ROWS; ++r)
                for (int t = 0; t < TILE; ++t) sums[r][t] += along[r * job.directions + d] * direction[t];
        }
        for (int r = 0; r < TILE_ROWS; ++r)
            for (int t = 0; t < TILE; ++t) {
                after[r] += sums[r][t] * sums[r][t];
                memcpy(to + r * job.width + i + t * lanes, &sums[r][t], sizeof sums[r][t]);
            }
    }
    for (int r = 0; r < TILE_ROWS; ++r) squares[0][r] = sum<Scalar>(before[r]), squares[1][r] = sum<Scalar>(after[r]);
}

// PAST: past the cache, for vectors that are aligned; else what they are written over would be read first.
template <class Scalar, bool PAST> static void scale_row(const Scalar* row, Scalar factor, int64_t cols, Scalar* out) {
    constexpr int lanes = Vector<Scalar>::lanes;
    int64_t i = 0;
    for (; i + lanes <= cols; i += lanes) {
        const Lanes<Scalar> scaled = load(row + i) * factor;
        if constexpr (PAST)
            STORE_PAST(out + i, scaled);
        else
            memcpy(out + i, &scaled, sizeof scaled);
    }
    for (; i < cols; ++i) out[i] = row[i] * factor;
}

template <class Scalar> static void change_rows(const LowRank<Scalar>& job, int64_t begin, int64_t end) {
    const bool past =
        job.out != job.rows && uintptr_t(job.out) % LANE_BYTES == 0 && job.cols % Vector<Scalar>::lanes == 0;
    const auto scale = past ? scale_row<Scalar, true> : scale_row<Scalar, false>;
    std::vector<Scalar> copy(TILE_ROWS * job.width), changed(copy), along(TILE_ROWS * job.directions);
    for (int64_t first = begin; first < end; first += TILE_ROWS) {
        const int64_t count = std::min<int64_t>(TILE_ROWS, end - first);
        const Scalar* rows = whole_rows(job, first, count, copy.data());
        const Scalar* ahead = first + count < end ? job.rows + (first + count) * job.cols : job.read;
        Scalar squares[2][TILE_ROWS];
        read_rows(job, rows, along.data(), reinterpret_cast<const char*>(ahead));
        write_rows(job, rows, along.data(), changed.data(), squares);
        for (int64_t r = 0; r < count; ++r) {
            const int64_t row = first + r, at = row * job.cols;
            const Scalar length = std::sqrt(squares[1][r]);
            job.lengths[row] = std::sqrt(squares[0][r]);
            job.lengths[job.count + row] = length;
            if (length > job.least)
                scale(&changed[r * job.width], 1 / length, job.cols, job.out + at);
            else if (job.out != job.rows)
                memcpy(job.out + at, job.rows + at, job.cols * sizeof(Scalar));
        }
    }
}
