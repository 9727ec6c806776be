// A stretch of every row: its products are added up in a buffer, and what that makes goes to the output. The plain
// loops are for the compiler to make vectors of. Included once per instruction set, after widen, narrow and
// round_to_half (weighted_sum_isa.h); no include guard on purpose.

// totals = from * weight, or grow by as much
template <bool GROW, class From, class Sum>
static void add_products(const From* __restrict from, Sum weight, Sum* __restrict totals) {
    if constexpr (std::is_same_v<From, Float16>) {
        float wide[STRETCH];
        widen(from, wide);
        add_products<GROW>(wide, weight, totals);
    } else {
        for (int i = 0; i < STRETCH; ++i) {
            const Sum product = static_cast<Sum>(value_of(from[i])) * weight;
            totals[i] = GROW ? totals[i] + product : product;
        }
    }
}

// The first `count` of a stretch.
template <bool GROW, class From, class Sum>
static void add_products(const From* from, int64_t count, Sum weight, Sum* totals) {
    if (count == STRETCH) return add_products<GROW>(from, weight, totals);
    From stretch[STRETCH] = {};
    std::copy_n(from, count, stretch);
    add_products<GROW>(stretch, weight, totals);
}

// to = totals, rounded once
template <class Sum, class To> static void round_to(const Sum* __restrict totals, To* __restrict to) {
    if constexpr (std::is_same_v<Sum, double> && sizeof(To) == 2) {
        float wide[STRETCH];
        round_to_half<To>(totals, wide);
        if constexpr (std::is_same_v<To, Float16>)
            narrow(wide, to);
        else
            for (int i = 0; i < STRETCH; ++i) to[i] = {static_cast<uint16_t>(bits_of(wide[i]) >> 16)};
    } else if constexpr (std::is_same_v<To, Float16>) {
        narrow(totals, to);
    } else {
        for (int i = 0; i < STRETCH; ++i) to[i] = Rounded<To>::of(totals[i]);
    }
}

template <class Sum, class To> static void round_to(const Sum* totals, int64_t count, To* to) {
    if (count == STRETCH) return round_to(totals, to);
    To stretch[STRETCH];
    round_to(totals, stretch);
    std::copy_n(stretch, count, to);
}

// In integers as wide as the numbers, so that it takes one vector for another; a stretch fits into 16 bits.
template <class To> static int64_t count_not_finite(const To* numbers, int64_t count) {
    std::conditional_t<sizeof(To) == 2, uint16_t, std::conditional_t<sizeof(To) == 4, uint32_t, uint64_t>> found = 0;
    for (int64_t i = 0; i < count; ++i) found += !is_finite(numbers[i]);
    return found;
}

// Of many rows the hardware's own prefetching loses track.
template <class From> static void prefetch(const From* from) {
    for (int i = 0; i < STRETCH; i += 64 / sizeof(From)) __builtin_prefetch(from + i);
}

// Columns from begin to end; returns how many of the sums are not finite.
template <class From, class Sum, class To>
static int64_t sum_columns(const WeightedSum<From, Sum, To>& job, int64_t begin, int64_t end) {
    Sum totals[STRETCH];
    int64_t not_finite = 0;
    for (int64_t at = begin; at < end; at += STRETCH) {
        const int64_t count = std::min<int64_t>(STRETCH, end - at);
        const bool ahead = job.rows > 4 && at + 2 * STRETCH <= end;
        for (int64_t row = 0; row < job.rows; ++row) {
            const From* from = job.sources + row * job.count + at;
            if (ahead) prefetch(from + STRETCH);
            if (row == 0)
                add_products<false>(from, count, job.weights[row], totals);
            else
                add_products<true>(from, count, job.weights[row], totals);
        }
        round_to(totals, count, job.out + at);
        not_finite += count_not_finite(job.out + at, count);
    }
    return not_finite;
}
