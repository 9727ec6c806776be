// Of each row the target of the largest product, and the row's length, while the row is in the cache.
// Included once per instruction set, after rows-inl.h (see low_rank.cpp); no include guard on purpose.

template <class Scalar> static Scalar squared_length(const Scalar* row, int64_t width) {
    Lanes<Scalar> sums = {};
    for (int64_t i = 0; i < width; i += Vector<Scalar>::lanes) {
        const Lanes<Scalar> x = load(row + i);
        sums += x * x;
    }
    return sum<Scalar>(sums);
}

template <class Scalar> static void find_nearest(const Nearest<Scalar>& job, int64_t begin, int64_t end) {
    std::vector<Scalar> copy(TILE_ROWS * job.width), along(TILE_ROWS * job.directions);
    for (int64_t first = begin; first < end; first += TILE_ROWS) {
        const int64_t count = std::min<int64_t>(TILE_ROWS, end - first);
        const Scalar* rows = whole_rows(job, first, count, copy.data());
        const Scalar* ahead = first + count < end ? job.rows + (first + count) * job.cols : job.read;
        read_rows(job, rows, along.data(), reinterpret_cast<const char*>(ahead));
        for (int64_t r = 0; r < count; ++r) {
            const Scalar* products = &along[r * job.directions];
            int64_t best = 0;
            for (int64_t target = 1; target < job.targets; ++target)
                if (products[target] > products[best]) best = target;
            job.index[first + r] = best;
            job.product[first + r] = products[best];
            job.length[first + r] = std::sqrt(squared_length(rows + r * job.width, job.width));
        }
    }
}
