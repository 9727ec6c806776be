// The smallest of a segment whose keys stay in the cache, by bisecting the keys: to count those up to a bound is all
// that takes time, and a compiler makes vectors of it. Included once per instruction set, inside a namespace of its own
// (see select.cpp and admm.cpp); no include guard on purpose.

template <class Key> static int64_t count_up_to(const Key* keys, int64_t length, Key bound) {
    Key count = 0; // of the width of the keys, as the lanes are
    for (int64_t i = 0; i < length; ++i) count += keys[i] <= bound;
    return count;
}

// The key of rank `count`, 1 at least, or a bound between it and the next one. Keys are signed.
template <class Key> static Key bound_of(const Key* keys, int64_t length, int64_t count) {
    Key least = keys[0], most = keys[0];
    for (int64_t i = 0; i < length; ++i) least = keys[i] < least ? keys[i] : least;
    for (int64_t i = 0; i < length; ++i) most = keys[i] > most ? keys[i] : most;
    while (least < most) {
        using Unsigned = std::make_unsigned_t<Key>;
        const Key middle = least + static_cast<Key>((static_cast<Unsigned>(most) - static_cast<Unsigned>(least)) / 2);
        const int64_t up_to = count_up_to(keys, length, middle);
        if (up_to == count) return middle;
        if (up_to > count)
            most = middle;
        else
            least = middle + 1;
    }
    return least;
}

// marks[i] = 1 for the `count` smallest keys, equal ones by their place, else 0.
template <class Key> static void mark_smallest(const Key* keys, int64_t length, int64_t count, uint8_t* marks) {
    memset(marks, 0, length);
    if (count == 0) return;
    const Key bound = bound_of(keys, length, count);
    for (int64_t i = 0; i < length; ++i) marks[i] = keys[i] <= bound;
    int64_t over = count_up_to(keys, length, bound) - count; // so many of those at the bound come too late
    for (int64_t i = length; over > 0;)
        if (keys[--i] == bound) {
            marks[i] = 0;
            --over;
        }
}
