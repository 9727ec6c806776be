// Loops over the numbers of tensors.
// Included once per instruction set, after cocktail_block-inl.h (see cocktail.cpp); no include guard on purpose.

// Run body with the kind of number as a constant.
template <class Body> static void for_number(Number number, const Body& body) {
    if (number == Number::float32) body(std::integral_constant<Number, Number::float32>());
    if (number == Number::bfloat16) body(std::integral_constant<Number, Number::bfloat16>());
    if (number == Number::float16) body(std::integral_constant<Number, Number::float16>());
}

// At every page the hardware's own prefetching begins anew.
static void prefetch(const Numbers& numbers, int64_t first, int64_t end) {
    const int64_t size = size_of(numbers.number);
    const char* from = static_cast<const char*>(numbers.data);
    for (int64_t i = first * size; i < end * size; i += 64) __builtin_prefetch(from + i);
}

static constexpr int64_t PIECE = 1024, AHEAD = 2 * PIECE; // of elements, prefetched one such way ahead

// body(first, end), piece by piece.
template <class Body, class... Tensors>
static void for_pieces(int64_t first, int64_t end, const Body& body, const Tensors&... tensors) {
    for (int64_t i = first; i < end; i += PIECE) {
        const int64_t ahead = std::min(end, i + AHEAD), last = std::min(end, ahead + PIECE);
        (prefetch(tensors, ahead, last), ...);
        body(i, std::min(end, i + PIECE));
    }
}

// The loops have pointers of their own, since to a compiler without strict aliasing any store may change a pointer that
// lies in memory.

template <Number NUMBER> static void load(const void* from, int64_t first, int count, float* __restrict to) {
    for (int i = 0; i < count; ++i) to[i] = number_at(from, NUMBER, first + i);
}

static void load(const Numbers& from, int64_t first, int count, float* to) {
    for_number(from.number, [&](auto number) { load<number>(from.data, first, count, to); });
}

static void scale_by(float factor, float* values, int count) {
    for (int i = 0; i < count; ++i) values[i] *= factor;
}

static void add(const float* __restrict from, float* __restrict to, int count) {
    for (int i = 0; i < count; ++i) to[i] += from[i];
}

template <Number FROM, Number WHAT>
static bool subtract(const void* from, const void* what, int64_t first, int count, float* __restrict to) {
    uint32_t worst = 0;
    for (int i = 0; i < count; ++i) {
        to[i] = number_at(from, FROM, first + i) - number_at(what, WHAT, first + i);
        worst = std::max(worst, magnitude_bits(to[i]));
    }
    return worst < INFINITY_BITS;
}

// to = from - what; returns whether all of it are numbers.
static bool subtract(const Numbers& from, const Numbers& what, int64_t first, int count, float* to) {
    bool finite = true;
    for_number(from.number, [&](auto one) {
        for_number(what.number,
                   [&](auto other) { finite = subtract<one, other>(from.data, what.data, first, count, to); });
    });
    return finite;
}

template <Number NUMBER> static void store_difference(void* __restrict to, int64_t first, int count,
                                                      const float* __restrict values, const float* __restrict sent) {
    for (int i = 0; i < count; ++i) put_number(to, NUMBER, first + i, values[i] - sent[i]);
}

// What is left of a block's values goes to elements first .. first + count.
static void store_rest(const CocktailLayout& layout, const Numbers& to, int64_t first, int count, Workspace& work) {
    for_number(to.number, [&](auto number) {
        for_sent(layout, work, count, [&](int i, auto some, const float* sent) {
            store_difference<number>(to.data, first + i, some, work.values + i, sent);
        });
    });
}

template <Number NUMBER> static auto bits_in(float value) {
    if constexpr (NUMBER == Number::float32) return bits_of(value);
    if constexpr (NUMBER == Number::bfloat16) return to_bfloat16(value);
    if constexpr (NUMBER == Number::float16) return to_float16(value);
}

// Only where something was sent: the rest keeps its bits, those of a NaN, too. Without a condition, which would become
// a branch.
template <Number NUMBER>
static void take_sent(void* __restrict from, int64_t first, int count, const float* __restrict sent) {
    using Bits = decltype(bits_in<NUMBER>(0.0f));
    Bits* all = static_cast<Bits*>(from) + first;
    for (int i = 0; i < count; ++i) {
        const Bits less = bits_in<NUMBER>(number_at(all, NUMBER, i) - sent[i]);
        const auto keep = static_cast<Bits>(bits_of(sent[i]) == 0 ? -1 : 0);
        all[i] = static_cast<Bits>((all[i] & keep) | (less & ~keep));
    }
}

static void take_sent(const CocktailLayout& layout, const Numbers& from, int64_t first, int count, Workspace& work) {
    for_number(from.number, [&](auto number) {
        for_sent(layout, work, count,
                 [&](int i, auto some, const float* sent) { take_sent<number>(from.data, first + i, some, sent); });
    });
}

// Whether all of gradient * scale are numbers.
template <Number NUMBER> static bool finite_part(const void* gradient, float scale, int64_t first, int64_t end) {
    uint32_t worst = 0;
    for (int64_t i = first; i < end; ++i)
        worst = std::max(worst, magnitude_bits(rounded_product(number_at(gradient, NUMBER, i), scale)));
    return worst < INFINITY_BITS;
}

static bool all_finite(const Numbers& gradient, float scale, int64_t first, int64_t end) {
    bool finite = true;
    for_number(gradient.number, [&](auto number) {
        const auto part = [&](int64_t from, int64_t to) {
            finite = finite_part<number>(gradient.data, scale, from, to) && finite;
        };
        for_pieces(first, end, part, gradient);
    });
    return finite;
}

// residual += gradient * scale
template <Number GRADIENT, Number RESIDUAL> static void
accumulate(const void* __restrict gradient, float scale, void* __restrict residual, int64_t first, int64_t end) {
    for (int64_t i = first; i < end; ++i) {
        const float scaled = rounded_product(number_at(gradient, GRADIENT, i), scale);
        put_number(residual, RESIDUAL, i, scaled + number_at(residual, RESIDUAL, i));
    }
}
