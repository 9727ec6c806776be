// Bottleneck assignment: the least largest entry over the perfect matchings of a small square matrix.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <limits>
#include <vector>

// Rows and columns as bits: up to 64 * words of them. The threshold begins where every row and every column has an entry
// and rises only when a set of rows has too few columns below it (Hall 1935), to the least entry that leads out of them:
// where all rows are matched it is the answer (the threshold algorithm, Burkard, Dell'Amico and Martello 2009, 6.2).
template <int words> class Bottleneck {
  public:
    explicit Bottleneck(int64_t size)
        : size_(size), entries_(size * size), below_(size), matched_row_(size), from_row_(size), queue_(size) {}

    // Row i of the matrix, to be filled before solve().
    double* row(int64_t i) { return entries_.data() + i * size_; }

    double solve() {
        threshold_ = least_threshold();
        mark_below();
        std::ranges::fill(matched_row_, -1);
        free_ = {};
        for (int64_t j = 0; j < size_; ++j) free_[j / 64] |= uint64_t(1) << j % 64;
        for (int64_t i = 0; i < size_; ++i)
            while (!augment(i)) {
                raise();
                mark_below();
            }
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

    void mark_below() {
        for (int64_t i = 0; i < size_; ++i) {
            const double* entries = row(i);
            Bits bits = {};
            for (int64_t j = 0; j < size_; ++j) bits[j / 64] |= uint64_t(entries[j] <= threshold_) << j % 64;
            below_[i] = bits;
        }
    }

    // Breadth first from an unmatched row to a free column; what was reached stays in queue_ and reached_.
    bool augment(int64_t start) {
        reached_ = {};
        queued_ = 0;
        queue_[queued_++] = start;
        for (int64_t next = 0; next < queued_; ++next) {
            const int64_t i = queue_[next];
            for (int w = 0; w < words; ++w) {
                uint64_t fresh = below_[i][w] & ~reached_[w];
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
    std::vector<double> entries_, column_least_;
    std::vector<Bits> below_;
    std::vector<int64_t> matched_row_, from_row_, queue_; // the row of a column; where the search came from; its rows
    Bits free_ = {}, reached_ = {};
};
