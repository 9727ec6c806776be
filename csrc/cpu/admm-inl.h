// A step of the ADMM search through buffers that stay in the cache: the values, which of them are kept, what that makes
// of the matrices. The plain loops over a buffer are for the compiler to make vectors of.
// Included once per instruction set, after select-inl.h and vector-inl.h (see admm.cpp); no include guard on purpose.

template <class Scalar>
static void read_values(const AdmmStep<Scalar>& step, int64_t at, int64_t count, Scalar* values) {
    const Scalar *x = step.x + at, *dual = step.dual + at;
    for (int64_t i = 0; i < count; ++i) values[i] = x[i] + dual[i];
}

// A number where it is kept, else 0: with a condition instead of the bits it would be no vector.
template <class Scalar> [[gnu::always_inline]] inline Scalar where_kept(uint8_t keep, Scalar value) {
    Word<Scalar> bits;
    memcpy(&bits, &value, sizeof bits);
    bits &= -static_cast<Word<Scalar>>(keep);
    memcpy(&value, &bits, sizeof bits);
    return value;
}

// Returns how many of kept change.
template <class Scalar> static int64_t write_step(const AdmmStep<Scalar>& step, int64_t at, int64_t count,
                                                  const Scalar* __restrict values, const uint8_t* __restrict keeps) {
    Scalar *x = step.x + at, *dual = step.dual + at;
    const Scalar* target = step.target + at;
    uint8_t* kept = step.kept + at;
    const Scalar shrink = step.shrink, penalty = step.penalty;
    int32_t changed = 0;
    for (int64_t i = 0; i < count; ++i) changed += (kept[i] != 0) != keeps[i];
    memcpy(kept, keeps, count);
    for (int64_t i = 0; i < count; ++i) {
        const Scalar projected = where_kept(keeps[i], values[i]);
        const Scalar left = next_dual(values[i], projected, shrink);
        dual[i] = left;
        x[i] = next_right_side(target[i], projected, left, penalty);
    }
    return changed;
}

// How many of a group lie before each of its entries, for groups side by side in the lanes of a vector: every entry
// meets the D-th one after it, round the group.
template <class Scalar, int GROUP, int D, int... K>
[[gnu::always_inline]] inline Words<Scalar> before_in_lanes(Words<Scalar> keys, std::integer_sequence<int, K...> all) {
    if constexpr (D == GROUP) {
        return Words<Scalar>{};
    } else {
        constexpr int inside = GROUP - 1;
        const auto lanes = (Lanes<Scalar>)keys;
        const auto other = (Words<Scalar>)shuffled<Scalar, ((K & ~inside) | ((K + D) & inside))...>(lanes, lanes);
        const Words<Scalar> tie{(((K + D) & inside) < (K & inside))...};                // the first of equals goes
        return before_in_lanes<Scalar, GROUP, D + 1>(keys, all) - (other - tie < keys); // true is -1
    }
}

template <class Scalar, int GROUP>
static void rank_lanes(const Word<Scalar>* keys, int64_t count, Word<Scalar>* before) {
    constexpr int lanes = Vector<Scalar>::lanes;
    if constexpr (GROUP <= lanes)
        for (int64_t i = 0; i < count; i += lanes) {
            Words<Scalar> of;
            memcpy(&of, keys + i, sizeof of);
            of = before_in_lanes<Scalar, GROUP, 1>(of, std::make_integer_sequence<int, lanes>());
            memcpy(before + i, &of, sizeof of);
        }
}

// The same for any group.
template <class Scalar>
static void rank_group(const Word<Scalar>* __restrict keys, int group, Word<Scalar>* __restrict before) {
    for (int a = 0; a < group; ++a) before[a] = 0;
    for (int b = 0; b < group; ++b)
        for (int a = 0; a < group; ++a) before[a] += keys[b] - (b < a) < keys[a];
}

// Which of the values, whole groups of them and STRETCH at most, are among the largest `keep` of their group.
template <class Scalar>
static void keep_largest(const Scalar* values, int64_t count, int keep, int group, uint8_t* keeps) {
    Word<Scalar> keys[STRETCH], before[STRETCH];
    for (int64_t i = 0; i < STRETCH; ++i) keys[i] = i < count ? magnitude_key(values[i]) : 0;
    constexpr int lanes = Vector<Scalar>::lanes;
    if (group == 2)
        rank_lanes<Scalar, 2>(keys, count, before);
    else if (group == 4 && lanes >= 4)
        rank_lanes<Scalar, 4>(keys, count, before);
    else if (group == 8 && lanes >= 8)
        rank_lanes<Scalar, 8>(keys, count, before);
    else
        for (int64_t i = 0; i < count; i += group) rank_group<Scalar>(keys + i, group, before + i);
    for (int64_t i = 0; i < count; ++i) keeps[i] = before[i] >= group - keep;
}

// Whole groups from begin to end; returns how many of kept change.
template <class Scalar>
static int64_t step_groups(const AdmmStep<Scalar>& step, int64_t begin, int64_t end, int keep, int group) {
    const int64_t stretch = STRETCH / group * group;
    Scalar values[STRETCH];
    uint8_t keeps[STRETCH];
    int64_t changed = 0;
    for (int64_t at = begin; at < end; at += stretch) {
        const int64_t count = end - at < stretch ? end - at : stretch;
        read_values(step, at, count, values);
        keep_largest(values, count, keep, group, keeps);
        changed += write_step(step, at, count, values, keeps);
    }
    return changed;
}

// Segments from begin to end, each of them in the cache between its two passes.
template <class Scalar>
static int64_t step_short(const AdmmStep<Scalar>& step, int64_t begin, int64_t end, int64_t length, int64_t prune) {
    std::vector<Scalar> values(length);
    std::vector<Word<Scalar>> keys(length);
    std::vector<uint8_t> keeps(length);
    int64_t changed = 0;
    for (int64_t s = begin; s < end; ++s) {
        read_values(step, s * length, length, values.data());
        for (int64_t i = 0; i < length; ++i) keys[i] = magnitude_key(values[i]);
        mark_smallest(keys.data(), length, prune, keeps.data());
        for (uint8_t& keep : keeps) keep ^= 1;
        changed += write_step(step, s * length, length, values.data(), keeps.data());
    }
    return changed;
}

template <class Scalar> static int bin_of(Scalar value) {
    return static_cast<int>(magnitude_key(value) >> (8 * sizeof(Scalar) - 1 - BIN_BITS)); // the sign bit is 0
}

template <class Scalar>
static void count_bins(const AdmmStep<Scalar>& step, int64_t begin, int64_t end, int64_t* histogram) {
    for (int64_t at = begin; at < end; at += STRETCH) {
        const int64_t count = end - at < STRETCH ? end - at : STRETCH;
        int bins[STRETCH];
        for (int64_t i = 0; i < count; ++i) bins[i] = bin_of(step.x[at + i] + step.dual[at + i]);
        for (int64_t i = 0; i < count; ++i) ++histogram[bins[i]];
    }
}

// The entries in bins below go and those in others stay; the ones in this bin are listed, and stay for now.
template <class Scalar> static int64_t step_all_but(const AdmmStep<Scalar>& step, int64_t begin, int64_t end, int bin,
                                                    std::vector<OpenValue<Scalar>>& open) {
    Scalar values[STRETCH];
    uint8_t keeps[STRETCH], opens[STRETCH] = {};
    int64_t changed = 0;
    for (int64_t at = begin; at < end; at += STRETCH) {
        const int64_t count = end - at < STRETCH ? end - at : STRETCH;
        read_values(step, at, count, values);
        for (int64_t i = 0; i < count; ++i) keeps[i] = bin_of(values[i]) >= bin;
        for (int64_t i = 0; i < count; ++i) opens[i] = bin_of(values[i]) == bin;
        for (int64_t word = 0; word < count; word += 8) {
            uint64_t some;
            memcpy(&some, opens + word, sizeof some);
            if (some == 0) continue;
            for (int64_t i = word; i < std::min(count, word + 8); ++i)
                if (opens[i]) open.push_back({magnitude_key(values[i]), at + i, values[i], step.kept[at + i] != 0});
        }
        changed += write_step(step, at, count, values, keeps);
    }
    return changed;
}
