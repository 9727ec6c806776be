// Which elements of a block are kept: the largest magnitudes, found by bisecting their bits, which count as integers in
// the order of the magnitudes. Once few are left between the bounds they are set apart, so that the rest of the
// bisection goes through those only.
// Included once per instruction set, inside a namespace of its own (see cocktail.cpp); no include guard on purpose.

static int32_t key_of(float value) { return static_cast<int32_t>(magnitude_bits(value)); }

// At least `least` of `count` values have keys from `lowest` on, fewer from `end` on.
struct Bounds {
    int64_t lowest, end;
    int above_lowest, above_end;
    int64_t middle() const { return lowest + (end - lowest) / 2; }
    void take(int64_t key, int above, int kept) {
        (above >= kept ? lowest : end) = key;
        (above >= kept ? above_lowest : above_end) = above;
    }
    // The lowest key exactly tells kept ones from others, or no key does.
    bool done(int kept) const { return above_lowest == kept || end - lowest == 1; }
};

// What the next block needs of memory, asked for a few lines at a time while this one is worked on: a processor has
// only so many lines on their way, and waits before it asks for more.
struct Ahead {
    const char *at, *second;  // where the next line is, and what comes after those of the first tensor
    int left, left_of_second; // lines
    int pace;                 // lines for 64 elements of this block
    void some() {
        if (left) lines(std::min(left, pace));
    }
    void rest() {
        while (left) lines(left);
    }
    void lines(int count) {
        for (int i = 0; i < count; ++i) __builtin_prefetch(at + 64 * i);
        at += 64 * count;
        left -= count;
        if (left) return;
        at = second;
        left = left_of_second;
        left_of_second = 0;
    }
};

// Up to a multiple of 64 the values are read, and are zeros; key > 0.
static int count_from(const float* values, int count, int32_t key, Ahead& ahead) {
    int above = 0;
    for (int i = 0; i < count; i += 64) {
        above += __builtin_popcountll(above64(values + i, key - 1));
        ahead.some();
    }
    return above;
}

struct Extent {
    int32_t largest, average; // of the keys
};

static Extent extent_of(const float* values, int count) {
    int32_t largest = 0, sum = 0;
    for (int i = 0; i < count; ++i) {
        largest = std::max(largest, key_of(values[i]));
        sum += key_of(values[i]) >> 16;
    }
    return {largest, sum / count << 16};
}

// The values with keys inside of the bounds; returns how many.
static int set_apart(const float* values, int block, const Bounds& bounds, float* few, Ahead& ahead) {
    float* to = few;
    for (int i = 0; i < block; i += 64) {
        const uint64_t inside = above64(values + i, static_cast<int32_t>(bounds.lowest - 1)) &
                                ~above64(values + i, static_cast<int32_t>(bounds.end - 1));
        to = compact64(to, values + i, inside);
        ahead.some();
    }
    std::fill(to, to + 64, 0.0f); // up to a whole 64 of them
    return static_cast<int>(to - few);
}

// The key from which on at least `kept` of the values lie, and of more than that the ones of this very key are too
// many.
static Bounds threshold_of(const float* values, int block, int kept, float* few, Ahead& ahead) {
    const Extent extent = extent_of(values, block);
    Bounds bounds{0, static_cast<int64_t>(extent.largest) + 1, block, 0};
    // from the average, since most exponents below it are of numbers that do not occur
    for (int64_t key = extent.average; !bounds.done(kept) && bounds.above_lowest - bounds.above_end > block / 8;
         key = bounds.middle())
        if (key > bounds.lowest) bounds.take(key, count_from(values, block, static_cast<int32_t>(key), ahead), kept);
    if (bounds.done(kept)) return bounds;
    const int count = set_apart(values, block, bounds, few, ahead), beyond = bounds.above_end;
    while (!bounds.done(kept)) {
        const int64_t middle = bounds.middle();
        bounds.take(middle, beyond + count_from(few, count, static_cast<int32_t>(middle), ahead), kept);
    }
    return bounds;
}

// The lowest `count` of the bits.
static uint64_t lowest_bits(uint64_t word, int count) {
    if (__builtin_popcountll(word) <= count) return word;
    uint64_t rest = word;
    for (; count > 0; --count) rest &= rest - 1;
    return word & ~rest;
}

// A bit an element.
static void select_largest(const float* values, int block, int kept, float* few, uint64_t* mask, Ahead& ahead) {
    const Bounds bounds = threshold_of(values, block, kept, few, ahead);
    const auto key = static_cast<int32_t>(bounds.lowest);
    if (bounds.above_lowest == kept) {
        for (int i = 0; i < block; i += 64) mask[i / 64] = above64(values + i, key - 1);
        return;
    }
    int ties = kept - bounds.above_end; // of those that have this key
    for (int i = 0; i < block; i += 64) {
        const uint64_t above = above64(values + i, key), equal = above64(values + i, key - 1) & ~above;
        const uint64_t chosen = lowest_bits(equal, ties);
        ties -= __builtin_popcountll(chosen);
        mask[i / 64] = above | chosen;
    }
}
