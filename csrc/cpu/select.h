// Exact selection in a long segment on the CPU, shared by select_smallest and admm_step_; select-inl.h has that in a
// short one.
#pragma once
#include <algorithm>
#include <utility>
#include <vector>

#include <torch/csrc/stable/ops.h>

#include "order.h"

// A segment longer than this is cut into pieces, the unit of work of one thread, and its scores into bins by their
// leading bits.
static constexpr int64_t LONG = 1 << 15;
static constexpr int64_t PIECE = 1 << 16;
static constexpr int BIN_BITS = 13;
static constexpr int64_t BINS = 1 << BIN_BITS;

// The bin that holds the threshold, and how many of it belong to the smallest.
struct ThresholdBin {
    int bin = 0;
    int64_t remaining;

    ThresholdBin(const std::vector<int64_t>& counts, int64_t count) : remaining(count) {
        for (;; ++bin) {
            int64_t in_bin = 0;
            for (size_t at = bin; at < counts.size(); at += BINS) in_bin += counts[at];
            if (remaining <= in_bin) return;
            remaining -= in_bin;
        }
    }
};

// Count the bins; only the scores of the bin that holds the threshold need ordering, by key and place, so that ties
// resolve themselves. A job has, for part of a segment,
//   count(begin, end, histogram)       adds its scores to their bins
//   settle(begin, end, bin, open)      is done with the scores in other bins, and lists those in this one as Entry
//   settle_one(entry, selected)        is done with one of those
template <class Job> static void select_long(int64_t length, int64_t count, const Job& job) {
    using Entry = typename Job::Entry;
    const int64_t piece = std::max(PIECE, length / 64), pieces = (length + piece - 1) / piece;
    const auto for_pieces = [=](const auto& body) {
        torch::stable::parallel_for(0, pieces, 1, [&](int64_t first, int64_t last) {
            for (int64_t p = first; p < last; ++p) body(p, p * piece, std::min(length, (p + 1) * piece));
        });
    };
    std::vector<int64_t> counts(pieces * BINS, 0);
    for_pieces([&](int64_t p, int64_t begin, int64_t end) { job.count(begin, end, counts.data() + p * BINS); });
    const ThresholdBin threshold(counts, count);
    std::vector<std::vector<Entry>> open(pieces);
    for_pieces([&](int64_t p, int64_t begin, int64_t end) {
        open[p].reserve(counts[p * BINS + threshold.bin]);
        job.settle(begin, end, threshold.bin, open[p]);
    });
    std::vector<Entry> all;
    for (const auto& some : open) all.insert(all.end(), some.begin(), some.end());
    const auto end = all.begin() + threshold.remaining; // of those that are selected
    if (threshold.remaining) std::nth_element(all.begin(), end - 1, all.end());
    for_pieces([&](int64_t p, int64_t, int64_t) { // in the order of memory
        for (const Entry& entry : open[p]) job.settle_one(entry, threshold.remaining && !(end[-1] < entry));
    });
}
