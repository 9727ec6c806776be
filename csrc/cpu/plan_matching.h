// Bottleneck assignment: the least largest entry over the perfect matchings of a small square matrix.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <limits>
#include <vector>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

// Rows and columns as bits: up to 64 * words of them. The threshold begins where every row and every column has an
// entry and rises only when a set of rows has too few columns below it (Hall 1935), to the least entry that leads out
// of them: where all rows are matched it is the answer (the threshold algorithm, Burkard, Dell'Amico and Martello
// 2009, 6.2).
template <int words> class Bottleneck {
  public:
    explicit Bottleneck(int64_t size)
        : size_(size), entries_(size * size), marked_at_(size), below_(size), matched_row_(size), from_row_(size),
          queue_(size) {}

    // Row i of the matrix, to be filled before solve().
    double* row(int64_t i) { return entries_.data() + i * size_; }

    double solve() {
        threshold_ = least_threshold();
        std::ranges::fill(marked_at_, -std::numeric_limits<double>::infinity());
        std::ranges::fill(matched_row_, -1);
        free_ = {};
        for (int64_t j = 0; j < size_; ++j) free_[j / 64] |= uint64_t(1) << j % 64;
        for (int64_t i = 0; i < size_; ++i)
            while (!augment(i)) raise();
        return threshold_;
    }

  private:
    using Bits = std::array<uint64_t, words>;

    double least_threshold() {
        double threshold = -std::numeric_limits<double>::infinity();
        column_least_.assign(size_, std::numeric_limits<double>::infinity());
        for (int64_t i = 0; i < size_; ++i) {
            double least = std::numeric_limits<double>::infinity();
            const double* entries = row(i);
            for (int64_t j = 0; j < size_; ++j) {
                least = entries[j] < least ? entries[j] : least;
                column_least_[j] = entries[j] < column_least_[j] ? entries[j] : column_least_[j];
            }
            threshold = std::max(threshold, least);
        }
        return std::max(threshold, *std::ranges::max_element(column_least_));
    }

    // The columns whose entry of row i is at most the threshold; looked at anew only where the threshold has risen.
    const Bits& below(int64_t i) {
        if (marked_at_[i] == threshold_) return below_[i];
        marked_at_[i] = threshold_;
        const double* entries = row(i);
        for (int64_t first = 0; first < size_; first += 64) {
            uint64_t bits = 0;
            const int64_t count = std::min<int64_t>(64, size_ - first);
            int64_t j = 0;
#if defined(__SSE2__) // GCC makes no bits of a vector's comparison by itself
            for (const __m128d most = _mm_set1_pd(threshold_); j + 2 <= count; j += 2)
                bits |= uint64_t(_mm_movemask_pd(_mm_cmple_pd(_mm_loadu_pd(entries + first + j), most))) << j;
#endif
            for (; j < count; ++j) bits |= uint64_t(entries[first + j] <= threshold_) << j;
            below_[i][first / 64] = bits;
        }
        return below_[i];
    }

    // Breadth first from an unmatched row to a free column; what was reached stays in queue_ and reached_.
    bool augment(int64_t start) {
        reached_ = {};
        queued_ = 0;
        queue_[queued_++] = start;
        for (int64_t next = 0; next < queued_; ++next) {
            const int64_t i = queue_[next];
            const Bits& open_columns = below(i);
            for (int w = 0; w < words; ++w) {
                uint64_t fresh = open_columns[w] & ~reached_[w];
                if (const uint64_t open = fresh & free_[w]) {
                    const int64_t j = 64 * w + std::countr_zero(open);
                    from_row_[j] = i;
                    flip(j, start);
                    return true;
                }
                reached_[w] |= fresh;
                for (; fresh; fresh &= fresh - 1) {
                    const int64_t j = 64 * w + std::countr_zero(fresh);
                    from_row_[j] = i;
                    queue_[queued_++] = matched_row_[j];
                }
            }
        }
        return false;
    }

    void flip(int64_t j, int64_t start) {
        free_[j / 64] &= ~(uint64_t(1) << j % 64);
        for (int64_t i = from_row_[j];; i = from_row_[j]) {
            int64_t before = -1; // the column that row i leaves
            if (i != start)
                for (before = 0; matched_row_[before] != i;) ++before;
            matched_row_[j] = i;
            if (i == start) return;
            j = before;
        }
    }

    void raise() {
        double next = std::numeric_limits<double>::infinity();
        for (int64_t q = 0; q < queued_; ++q) {
            const double* entries = row(queue_[q]);
            for (int64_t j = 0; j < size_; ++j)
                if (!(reached_[j / 64] >> j % 64 & 1)) next = std::min(next, entries[j]);
        }
        threshold_ = next;
    }

    int64_t size_, queued_ = 0;
    double threshold_ = 0;
    std::vector<double> entries_, column_least_, marked_at_; // marked_at_: the threshold of each row's below_
    std::vector<Bits> below_;
    std::vector<int64_t> matched_row_, from_row_, queue_; // the row of a column; where the search came from; its rows
    Bits free_ = {}, reached_ = {};
};
