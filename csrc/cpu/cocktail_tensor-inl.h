// Some blocks or strata of a tensor, on one thread.
// Included once per instruction set, after cocktail_numbers-inl.h (see cocktail.cpp); no include guard on purpose.

static std::unique_ptr<Workspace> new_workspace() { return std::unique_ptr<Workspace>(new Workspace); }

// body(stratum, block), while the next block of these tensors is on its way.
template <class Body, class... Tensors> static void for_strata(const CocktailLayout& layout, int64_t begin, int64_t end,
                                                               const Body& body, const Tensors&... tensors) {
    int64_t block = sampled_block(layout, begin);
    for (int64_t stratum = begin; stratum < end; ++stratum) {
        const int64_t next = stratum + 1 < end ? sampled_block(layout, stratum + 1) : layout.blocks();
        (prefetch(tensors, next * layout.block, std::min(layout.numel, (next + 1) * layout.block)), ...);
        body(stratum, block);
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
        load(job.residual, first, count, work.sent);
        add(work.sent, work.values, count);
    }
    clear_outside(job.layout, block, work);
    encode_block(job.layout, work, body);
    if (!job.residual.data) return;
    place_decoded(job.layout, work);
    store_difference(job.residual, first, count, work);
}

// The blocks begin .. end, of strata that may begin before and end after them.
static void compress_gradient(const GradientJob& job, int64_t begin, int64_t end) {
    const CocktailLayout& layout = job.layout;
    const auto work = new_workspace();
    const auto keep = [&](int64_t from, int64_t to) {
        accumulate(job, from * layout.block, std::min(to * layout.block, layout.numel));
    };
    for (int64_t stratum = stratum_of(layout, begin); begin < end; ++stratum) {
        const int64_t last = std::min(end, stratum_begin(layout, stratum + 1)), block = sampled_block(layout, stratum);
        const bool here = begin <= block && block < last;
        keep(begin, here ? block : last);
        if (here) {
            compress_block(job, block, job.body + stratum * layout.block_bytes(), *work);
            keep(block + 1, last);
        }
        begin = last;
    }
}

// Returns whether all of local - shared are numbers.
static bool load_delta(const DeltaJob& job, int64_t block, Workspace& work) {
    return subtract(job.local, job.shared, block * job.layout.block, job.layout.inside(block), work.values);
}

static bool deltas_finite(const DeltaJob& job, int64_t begin, int64_t end) {
    const auto work = new_workspace();
    bool finite = true;
    const auto look = [&](int64_t, int64_t block) { finite = load_delta(job, block, *work) && finite; };
    for_strata(job.layout, begin, end, look, job.local, job.shared);
    return finite;
}

static void compress_delta(const DeltaJob& job, int64_t begin, int64_t end) {
    const CocktailLayout& layout = job.layout;
    const auto work = new_workspace();
    const auto compress = [&](int64_t stratum, int64_t block) {
        load_delta(job, block, *work);
        clear_outside(layout, block, *work);
        encode_block(layout, *work, job.body + stratum * layout.block_bytes());
        place_decoded(layout, *work);
        take_sent(job.local, block * layout.block, layout.inside(block), work->sent);
    };
    for_strata(layout, begin, end, compress, job.local, job.shared);
}

// The mean of what a stratum's block decodes to.
static void load_mean(const MeanJob& job, int64_t stratum, Workspace& work) {
    const CocktailLayout& layout = job.layout;
    const auto workers = static_cast<float>(job.workers);
    float* values = work.values;
    std::fill(values, values + layout.block, 0.0f);
    for (int64_t worker = 0; worker < job.workers; ++worker) {
        decode_block(layout, job.bodies + worker * layout.payload_bytes() + stratum * layout.block_bytes(), work);
        place_decoded(layout, work);
        add(work.sent, values, layout.block);
    }
    for (int i = 0, count = layout.block; i < count; ++i) values[i] /= workers;
}

static void compress_mean(const MeanJob& job, int64_t begin, int64_t end) {
    const CocktailLayout& layout = job.layout;
    const auto work = new_workspace();
    const auto compress = [&](int64_t stratum, int64_t block) {
        const int64_t first = block * layout.block;
        load_mean(job, stratum, *work);
        clear_outside(layout, block, *work);
        if (job.residual.data) {
            load(job.residual, first, layout.inside(block), work->sent);
            add(work->sent, work->values, layout.inside(block));
        }
        encode_block(layout, *work, job.body + stratum * layout.block_bytes());
        if (!job.residual.data) return;
        place_decoded(layout, *work);
        store_difference(job.residual, first, layout.inside(block), *work);
    };
    if (job.residual.data)
        for_strata(layout, begin, end, compress, job.residual);
    else
        for_strata(layout, begin, end, compress);
}

// out -= factor * what strata begin .. end of a body decode to
static void subtract_body(const CocktailLayout& layout, const uint8_t* body, float factor, const Numbers& out,
                          int64_t begin, int64_t end) {
    const auto work = new_workspace();
    const auto subtract = [&](int64_t stratum, int64_t block) {
        decode_block(layout, body + stratum * layout.block_bytes(), *work);
        scale_by(factor, work->decoded, layout.kept);
        place_decoded(layout, *work);
        take_sent(out, block * layout.block, layout.inside(block), work->sent);
    };
    for_strata(layout, begin, end, subtract, out);
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
