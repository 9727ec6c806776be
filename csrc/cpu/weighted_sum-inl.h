// A stretch of every row: its products are added up in a buffer, and what that makes goes to the output. The plain loops
// are for the compiler to make vectors of.
// Included once per instruction set, after widen and narrow (see weighted_sum.cpp); no include guard on purpose.

// totals = from * weight, or grow by as much
template <bool GROW, class From, class Sum>
static void add_products(const From* __restrict from, Sum weight, int64_t count, Sum* __restrict totals) {
    if constexpr (std::is_same_v<From, Float16>) {
        float wide[STRETCH];
        widen(from, count, wide);
        add_products<GROW>(wide, weight, count, totals);
    } else {
        for (int64_t i = 0; i < count; ++i) {
            const Sum product = static_cast<Sum>(value_of(from[i])) * weight;
            totals[i] = GROW ? totals[i] + product : product;
        }
    }
}

// to = totals, rounded once
template <class Sum, class To> static void round_to(const Sum* __restrict totals, int64_t count, To* __restrict to) {
    if constexpr (std::is_same_v<To, Float16>) {
        float wide[STRETCH];
        for (int64_t i = 0; i < count; ++i) wide[i] = at_precision<To>(totals[i]);
        narrow(wide, count, to);
    } else {
        for (int64_t i = 0; i < count; ++i) to[i] = Rounded<To>::of(totals[i]);
    }
}

template <class To> static int32_t count_not_finite(const To* numbers, int64_t count) {
    int32_t found = 0;
    for (int64_t i = 0; i < count; ++i) found += !is_finite(numbers[i]);
    return found;
}

// Columns from begin to end; returns how many of the sums are not finite.
template <class From, class Sum, class To>
static int64_t sum_columns(const WeightedSum<From, Sum, To>& job, int64_t begin, int64_t end) {
    Sum totals[STRETCH];
    int64_t not_finite = 0;
    for (int64_t at = begin; at < end; at += STRETCH) {
        const int64_t count = std::min(STRETCH, end - at);
        add_products<false>(job.sources + at, job.weights[0], count, totals);
        for (int64_t row = 1; row < job.rows; ++row)
            add_products<true>(job.sources + row * job.count + at, job.weights[row], count, totals);
        round_to(totals, count, job.out + at);
        not_finite += count_not_finite(job.out + at, count);
    }
    return not_finite;
}
