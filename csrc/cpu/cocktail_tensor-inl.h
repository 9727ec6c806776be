// Some blocks or strata of a tensor, on one thread.
// Included once per instruction set, after cocktail_numbers-inl.h (see cocktail.cpp); no include guard on purpose.

// Kept from call to call, since fresh pages would take as long as many blocks do.
static Workspace& workspace() {
    static thread_local const std::unique_ptr<Workspace> own(new Workspace);
    return *own;
}

static Ahead ahead_of(const CocktailLayout& layout, int64_t block, int pace, const Numbers& a, const Numbers& b) {
    const auto at = [&](const Numbers& numbers) {
        const int64_t before = numbers.data ? block * layout.block * size_of(numbers.number) : 0;
        return static_cast<const char*>(numbers.data) + before;
    };
    const auto lines = [&](const Numbers& numbers) {
        return numbers.data ? static_cast<int>(layout.inside(block) * size_of(numbers.number) / 64) : 0;
    };
    return {at(a), at(b), lines(a), lines(b), pace};
}

// body(stratum, block), while the next block of these tensors is on its way. pace: see Ahead.
template <class Body> static void for_strata(const CocktailLayout& layout, int64_t begin, int64_t end, Workspace& work,
                                             int pace, const Numbers& first, const Numbers& second, const Body& body) {
    int64_t block = sampled_block(layout, begin);
    for (int64_t stratum = begin; stratum < end; ++stratum) {
        const int64_t next = stratum + 1 < end ? sampled_block(layout, stratum + 1) : block;
        work.ahead = ahead_of(layout, next, pace, first, second);
        body(stratum, block);
        work.ahead.rest();
        block = next;
    }
}

static void accumulate(const GradientJob& job, int64_t first, int64_t end) {
    const auto [data, number] = job.residual;
    if (!data) return;
    for_number(job.gradient.number, [&, data = data, number = number](auto gradient) {
        const auto part = [&](int64_t from, int64_t to) {
            if (number == Number::float32)
                accumulate<gradient, Number::float32>(job.gradient.data, job.scale, data, from, to);
            else
                accumulate<gradient, Number::bfloat16>(job.gradient.data, job.scale, data, from, to);
        };
        for_pieces(first, end, part, job.gradient, job.residual);
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
    scale_by(job.scale, work.values, count);
    if (job.residual.data) {
        load(job.residual, first, count, work.other);
        add(work.other, work.values, count);
    }
    clear_outside(job.layout, block, work);
    encode_block(job.layout, work, body);
    if (job.residual.data) store_rest(job.layout, job.residual, first, count, work);
}

// The blocks begin .. end, of strata that may begin before and end after them.
static void compress_gradient(const GradientJob& job, int64_t begin, int64_t end) {
    const CocktailLayout& layout = job.layout;
    Workspace& work = workspace();
    const auto keep = [&](int64_t from, int64_t to) {
        accumulate(job, from * layout.block, std::min(to * layout.block, layout.numel));
    };
    for (int64_t stratum = stratum_of(layout, begin); begin < end; ++stratum) {
        const int64_t last = std::min(end, stratum_begin(layout, stratum + 1)), block = sampled_block(layout, stratum);
        const bool here = begin <= block && block < last;
        keep(begin, here ? block : last);
        if (here) {
            compress_block(job, block, job.body + stratum * layout.block_bytes(), work);
            keep(block + 1, last);
        }
        begin = last;
    }
}

// The payload of local - shared, which stay as they are; returns whether all of it are numbers.
static bool encode_delta(const DeltaJob& job, int64_t begin, int64_t end) {
    const CocktailLayout& layout = job.layout;
    Workspace& work = workspace();
    bool finite = true;
    const auto encode = [&](int64_t stratum, int64_t block) {
        finite = finite && subtract(job.local, job.shared, block * layout.block, layout.inside(block), work.values);
        if (!finite) return;
        clear_outside(layout, block, work);
        encode_block(layout, work, job.body + stratum * layout.block_bytes());
    };
    for_strata(layout, begin, end, work, 1, job.local, job.shared, encode);
    return finite;
}

static Decoded& decoded_of(Workspace& work, int which) { return which ? work.others[which - 1] : work.decoded; }

// values += what the first `count` payloads of the workspace decode to, in this order.
static void add_decoded(const CocktailLayout& layout, int count, Workspace& work) {
    const float* kept[AT_ONCE];
    uint64_t words[AT_ONCE];
    for (int k = 0; k < count; ++k) kept[k] = decoded_of(work, k).values;
    for (int i = 0; i < layout.block; i += 64) {
        for (int k = 0; k < count; ++k)
            words[k] = layout.mask_bytes() ? decoded_of(work, k).mask[i / 64] : ~uint64_t{0};
        add_expanded64(work.values + i, kept, words, count);
        work.ahead.some();
    }
}

// The mean of what a stratum's block decodes to.
static void load_mean(const MeanJob& job, int64_t stratum, Workspace& work) {
    const CocktailLayout& layout = job.layout;
    const auto workers = static_cast<float>(job.workers);
    float* values = work.values;
    std::fill(values, values + layout.block, 0.0f);
    for (int64_t worker = 0; worker < job.workers; worker += AT_ONCE) {
        const int count = static_cast<int>(std::min<int64_t>(AT_ONCE, job.workers - worker));
        for (int k = 0; k < count; ++k) {
            const uint8_t* bodies = job.bodies + (worker + k) * layout.payload_bytes();
            decode_block(layout, bodies + stratum * layout.block_bytes(), work, decoded_of(work, k));
        }
        add_decoded(layout, count, work);
    }
    for (int i = 0, count = layout.block; i < count; ++i) values[i] /= workers;
}

static void compress_mean(const MeanJob& job, int64_t begin, int64_t end) {
    const CocktailLayout& layout = job.layout;
    Workspace& work = workspace();
    const auto compress = [&](int64_t stratum, int64_t block) {
        const int64_t first = block * layout.block;
        const int count = layout.inside(block);
        load_mean(job, stratum, work);
        clear_outside(layout, block, work);
        if (job.residual.data) {
            load(job.residual, first, count, work.other);
            add(work.other, work.values, count);
        }
        encode_block(layout, work, job.body + stratum * layout.block_bytes());
        if (job.residual.data) store_rest(layout, job.residual, first, count, work);
    };
    for_strata(layout, begin, end, work, 1, job.residual, {}, compress);
}

// out -= factor * what strata begin .. end of a body decode to
static void subtract_body(const CocktailLayout& layout, const uint8_t* body, float factor, const Numbers& out,
                          int64_t begin, int64_t end) {
    Workspace& work = workspace();
    const auto subtract = [&](int64_t stratum, int64_t block) {
        decode_block(layout, body + stratum * layout.block_bytes(), work, work.decoded);
        scale_by(factor, work.decoded.values, layout.kept);
        take_sent(layout, out, block * layout.block, layout.inside(block), work);
    };
    for_strata(layout, begin, end, work, 4, out, {}, subtract);
}

// The blocks begin .. end of payloads one after the other.
static bool masks_fit(const CocktailLayout& layout, const uint8_t* bodies, int64_t begin, int64_t end) {
    bool fit = true;
    for (int64_t i = begin; i < end && fit; ++i) {
        const int64_t payload = i / layout.sampled, stratum = i % layout.sampled;
        fit = mask_fits(layout, bodies + payload * layout.payload_bytes() + stratum * layout.block_bytes());
    }
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
