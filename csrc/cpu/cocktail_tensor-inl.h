// Some blocks or strata of a tensor, on one thread.
// Included once per instruction set, after cocktail_block-inl.h (see cocktail.cpp); no include guard on purpose.

static std::unique_ptr<Workspace> new_workspace() { return std::unique_ptr<Workspace>(new Workspace); }

// Run body with the kind of number as a constant.
template <class Body> static void for_number(Number number, const Body& body) {
    if (number == Number::float32) body(std::integral_constant<Number, Number::float32>());
    if (number == Number::bfloat16) body(std::integral_constant<Number, Number::bfloat16>());
    if (number == Number::float16) body(std::integral_constant<Number, Number::float16>());
}

static void load(const Numbers& from, int64_t first, int count, float* to) {
    for_number(from.number, [&](auto number) {
        for (int i = 0; i < count; ++i) to[i] = number_at(from.data, number, first + i);
    });
}

static void store_difference(const Numbers& to, int64_t first, int count, const float* values, const float* sent) {
    for_number(to.number, [&](auto number) {
        for (int i = 0; i < count; ++i) put_number(to.data, number, first + i, values[i] - sent[i]);
    });
}

// Only where something was sent: the rest keeps its bits, those of a NaN, too.
static void subtract(const Numbers& from, int64_t first, int count, const float* sent) {
    for_number(from.number, [&](auto number) {
        using Bits = std::conditional_t<number == Number::float32, uint32_t, uint16_t>;
        auto* all = static_cast<Bits*>(from.data) + first;
        for (int i = 0; i < count; ++i) {
            Bits less;
            put_number(&less, number, 0, number_at(all, number, i) - sent[i]);
            all[i] = bits_of(sent[i]) == 0 ? all[i] : less;
        }
    });
}

// Whether all of gradient * scale are numbers.
static bool all_finite(const Numbers& gradient, float scale, int64_t first, int64_t count) {
    bool finite = true;
    for_number(gradient.number, [&](auto number) {
        uint32_t worst = 0;
        for (int64_t i = first; i < first + count; ++i)
            worst = std::max(worst, magnitude_bits(rounded_product(number_at(gradient.data, number, i), scale)));
        finite = worst < INFINITY_BITS;
    });
    return finite;
}

// residual += gradient * scale
static void accumulate(const GradientJob& job, int64_t first, int64_t end) {
    if (!job.residual.data) return;
    for_number(job.gradient.number, [&](auto number) {
        for_number(job.residual.number, [&](auto kept) {
            if constexpr (kept != Number::float16)
                for (int64_t i = first; i < end; ++i) {
                    const float scaled = rounded_product(number_at(job.gradient.data, number, i), job.scale);
                    put_number(job.residual.data, kept, i, scaled + number_at(job.residual.data, kept, i));
                }
        });
    });
}

// What is added to zeros up to a whole block is dropped again.
static void clear_outside(const CocktailLayout& layout, int64_t block, Workspace& work) {
    std::fill(work.values + layout.inside(block), work.values + layout.block, 0.0f);
}

static void compress_block(const GradientJob& job, int64_t block, uint8_t* body, Workspace& work) {
    const int64_t first = block * job.layout.block;
    const int count = job.layout.inside(block);
    load(job.gradient, first, count, work.values);
    for (int i = 0; i < count; ++i) work.values[i] *= job.scale;
    if (job.residual.data) {
        load(job.residual, first, count, work.sent);
        for (int i = 0; i < count; ++i) work.values[i] += work.sent[i];
    }
    clear_outside(job.layout, block, work);
    encode_block(job.layout, work, body);
    if (!job.residual.data) return;
    place_decoded(job.layout, work);
    store_difference(job.residual, first, count, work.values, work.sent);
}

// The blocks begin .. end, of strata that may begin before and end after them.
static void compress_gradient(const GradientJob& job, int64_t begin, int64_t end) {
    const CocktailLayout& layout = job.layout;
    const auto work = new_workspace();
    const auto add = [&](int64_t from, int64_t to) {
        accumulate(job, from * layout.block, std::min(to * layout.block, layout.numel));
    };
    for (int64_t stratum = stratum_of(layout, begin); begin < end; ++stratum) {
        const int64_t last = std::min(end, stratum_begin(layout, stratum + 1)), block = sampled_block(layout, stratum);
        const bool here = begin <= block && block < last;
        add(begin, here ? block : last);
        if (here) {
            compress_block(job, block, job.body + stratum * layout.block_bytes(), *work);
            add(block + 1, last);
        }
        begin = last;
    }
}

// Returns false once a difference is not finite.
static bool compress_delta(const DeltaJob& job, int64_t begin, int64_t end) {
    const auto work = new_workspace();
    for (int64_t stratum = begin; stratum < end; ++stratum) {
        const int64_t block = sampled_block(job.layout, stratum), first = block * job.layout.block;
        const int count = job.layout.inside(block);
        load(job.local, first, count, work->values);
        load(job.shared, first, count, work->sent);
        uint32_t worst = 0;
        for (int i = 0; i < count; ++i) {
            work->values[i] -= work->sent[i];
            worst = std::max(worst, magnitude_bits(work->values[i]));
        }
        if (worst >= INFINITY_BITS) return false;
        clear_outside(job.layout, block, *work);
        encode_block(job.layout, *work, job.body + stratum * job.layout.block_bytes());
    }
    return true;
}

static void compress_mean(const MeanJob& job, int64_t begin, int64_t end) {
    const CocktailLayout& layout = job.layout;
    const auto work = new_workspace();
    for (int64_t stratum = begin; stratum < end; ++stratum) {
        const int64_t place = stratum * layout.block_bytes(), block = sampled_block(layout, stratum);
        const int64_t first = block * layout.block;
        const int count = layout.inside(block);
        std::fill(work->values, work->values + layout.block, 0.0f);
        for (int64_t worker = 0; worker < job.workers; ++worker) {
            decode_block(layout, job.bodies + worker * layout.payload_bytes() + place, *work);
            place_decoded(layout, *work);
            for (int i = 0; i < layout.block; ++i) work->values[i] += work->sent[i];
        }
        for (int i = 0; i < layout.block; ++i) work->values[i] /= static_cast<float>(job.workers);
        clear_outside(layout, block, *work);
        if (job.residual.data) {
            load(job.residual, first, count, work->sent);
            for (int i = 0; i < count; ++i) work->values[i] += work->sent[i];
        }
        encode_block(layout, *work, job.body + place);
        if (!job.residual.data) continue;
        place_decoded(layout, *work);
        store_difference(job.residual, first, count, work->values, work->sent);
    }
}

// out -= factor * what strata begin .. end of a body decode to
static void subtract_body(const CocktailLayout& layout, const uint8_t* body, float factor, const Numbers& out,
                          int64_t begin, int64_t end) {
    const auto work = new_workspace();
    for (int64_t stratum = begin; stratum < end; ++stratum) {
        const int64_t block = sampled_block(layout, stratum);
        decode_block(layout, body + stratum * layout.block_bytes(), *work);
        for (int i = 0; i < layout.kept; ++i) work->decoded[i] *= factor;
        place_decoded(layout, *work);
        subtract(out, block * layout.block, layout.inside(block), work->sent);
    }
}

static bool masks_fit(const CocktailLayout& layout, const uint8_t* body, int64_t begin, int64_t end) {
    bool fit = true;
    for (int64_t stratum = begin; stratum < end && fit; ++stratum)
        fit = mask_fits(layout, body + stratum * layout.block_bytes());
    return fit;
}

static uint64_t weighted_words(const uint8_t* words, int64_t begin, int64_t end) {
    uint64_t sum = 0;
    for (int64_t i = begin; i < end; ++i) {
        uint32_t word;
        memcpy(&word, words + 4 * i, 4);
        sum += word * checksum_weight(static_cast<uint64_t>(i));
    }
    return sum;
}
