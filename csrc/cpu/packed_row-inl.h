// One row of a packed weight, made safe to read: its mask, where its entries lie, its scales. Whatever the parts hold,
// what open() returns leads to no byte outside of them. Included once per instruction set, inside a namespace of its
// own: it counts bits; no include guard on purpose.

// Towards the cache: the processor by itself sees the next row too late once x has filled the nearest cache. Measured
// on Zen 5 with 11008 columns: 1.6 times faster.
static void prefetch(const uint8_t* from, int64_t bytes) {
    for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(from + i);
}

// What a thread needs while it reads rows of one weight.
class RowReader {
  public:
    explicit RowReader(const PackedWeight& weight)
        : weight(weight), mask(weight.indices ? weight.mask_bytes() + SLACK : 0),
          tail(weight.cols * weight.entry_bits() / 8 + 2 * SLACK), scale(weight.bits ? weight.groups + SLACK : 0),
          zero(scale.size()), fill(!weight.bits || !fills() ? 0 : (weight.zero ? weight.cols : 0) + SLACK) {
        if (weight.bits == 0 || weight.zero) return;
        std::fill(zero.begin(), zero.end(), static_cast<float>(1 << (weight.bits - 1)));
        std::fill(fill.begin(), fill.end(), static_cast<uint8_t>(1 << (weight.bits - 1)));
    }

    // Throws where mask, starts or indices do not fit the entries.
    Row open(int64_t r) {
        Row row{};
        int64_t first = 0;
        row.kept = weight.kept_of_row();
        if (weight.bitmask) {
            row.mask = weight.bitmask + r * weight.mask_bytes();
            row.kept = set_bits(row.mask);
            if (r + 1 < weight.rows) prefetch(row.mask + weight.mask_bytes(), weight.mask_bytes());
            first = weight.starts[r];
            const int64_t all = weight.entries_bytes * 8 / weight.entry_bits();
            require(0 <= first && row.kept <= all && first <= all - row.kept,
                    "starts: do not fit the bitmask and the entries. Count the bits of its rows.");
        } else if (weight.indices) {
            mark_places(weight.indices + r * weight.index_bytes);
            row.mask = mask.data();
            require(set_bits(row.mask) == row.kept,
                    "indices: expected ascending places in every group. The file is damaged.");
        }
        locate_entries(row, r * weight.row_bytes, first);
        if (weight.bits) read_grids(r);
        row.scale = scale.data();
        row.zero = zero.data();
        row.fill = fill.data();
        row.fill_step = weight.zero ? 1 : 0;
        return row;
    }

  private:
    // Whether columns are without an entry, or their codes go the way of those.
    bool fills() const { return weight.masked() || weight.bits == 3; }

    int64_t set_bits(const uint8_t* bits) const {
        int64_t count = 0, at = 0;
        for (uint64_t word; at + 8 <= weight.mask_bytes(); at += 8) {
            memcpy(&word, bits + at, 8);
            count += std::popcount(word);
        }
        for (; at < weight.mask_bytes(); ++at) count += std::popcount(bits[at]);
        const bool stray = weight.cols % 8 && bits[weight.mask_bytes() - 1] >> weight.cols % 8;
        require(!stray, "bitmask: expected no bit after the last of ", weight.cols, " columns.");
        return count;
    }

    void mark_places(const uint8_t* indices) {
        if (weight.keep == 2 && weight.group == 4) {
            mark_2_of_4(indices, weight.mask_bytes(), mask.data());
            if (weight.cols % 8) mask[weight.mask_bytes() - 1] &= 0x0f;
            return;
        }
        std::fill(mask.begin(), mask.end(), 0);
        const int width = index_bits(weight.group);
        int last = -1;
        for (int64_t i = 0, bit = 0; i < weight.kept_of_row(); ++i, bit += width) {
            uint16_t word = indices[bit / 8];
            if (bit % 8 + width > 8) word |= static_cast<uint16_t>(indices[bit / 8 + 1] << 8);
            const int place = word >> bit % 8 & ((1 << width) - 1);
            if (i % weight.keep == 0) last = -1;
            require(last < place && place < weight.group, "indices: expected ascending places below ", weight.group,
                    ". The file is damaged.");
            last = place;
            const int64_t col = i / weight.keep * weight.group + place;
            mask[col / 8] |= static_cast<uint8_t>(1 << col % 8);
        }
    }

    // Entries too near to the end of all for whole vectors are moved to where there is room.
    void locate_entries(Row& row, int64_t begin, int64_t first) {
        const int64_t bit = 8 * begin + first * weight.entry_bits();
        const int64_t from = bit / 8, to = (bit + row.kept * weight.entry_bits() + 7) / 8;
        prefetch(weight.entries + to, std::min(to - from, weight.entries_bytes - to));
        row.entries = weight.entries + from;
        row.bit = bit % 8;
        if (to + SLACK <= weight.entries_bytes) return;
        memcpy(tail.data(), row.entries, to - from);
        row.entries = tail.data();
    }

    void read_grids(int64_t r) {
        to_floats(weight.scale, weight.scales, r * weight.groups, weight.groups, scale.data());
        if (!weight.zero) return;
        codes.resize(weight.groups);
        for_bits(weight.bits, [&](auto bits) {
            unpack_part<bits>(weight.zero + r * weight.zero_bytes, weight.zero_bytes, codes.data(), weight.groups);
        });
        for (int64_t g = 0; g < weight.groups; ++g) zero[g] = codes[g];
        if (!fills()) return;
        for (int64_t g = 0; g < weight.groups; ++g) {
            const int64_t col = g * weight.group_size;
            std::fill_n(fill.begin() + col, std::min(weight.group_size, weight.cols - col), codes[g]);
        }
    }

    const PackedWeight& weight;
    std::vector<uint8_t> mask, tail;
    std::vector<float> scale, zero;
    std::vector<uint8_t> fill, codes;
};
