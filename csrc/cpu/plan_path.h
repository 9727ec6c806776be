// The shortest open path over a few nodes with symmetric weights.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

inline double path_length(const std::vector<double>& weights, const std::vector<int>& path) {
    const size_t nodes = path.size();
    double length = 0;
    for (size_t i = 0; i + 1 < nodes; ++i) length += weights[path[i] * nodes + path[i + 1]];
    return length;
}

// No path is shorter than the least spanning tree (Prim 1957).
inline double tree_length(const std::vector<double>& weights, int64_t nodes, std::vector<double>& nearest) {
    nearest.assign(weights.begin(), weights.begin() + nodes);
    nearest[0] = -1; // in the tree
    double length = 0;
    for (int64_t step = 1; step < nodes; ++step) {
        int64_t next = -1;
        for (int64_t i = 0; i < nodes; ++i)
            if (nearest[i] >= 0 && (next < 0 || nearest[i] < nearest[next])) next = i;
        length += nearest[next];
        nearest[next] = -1;
        const double* row = weights.data() + next * nodes;
        for (int64_t i = 0; i < nodes; ++i)
            if (nearest[i] >= 0) nearest[i] = std::min(nearest[i], row[i]);
    }
    return length;
}

// Held and Karp 1962: length[visited][last], all starts at once. O(2^n n^2): some microseconds for 8 nodes.
class HeldKarp {
  public:
    double solve(const std::vector<double>& weights, int64_t nodes, std::vector<int>& path) {
        const int64_t subsets = int64_t(1) << nodes;
        length_.assign(subsets * nodes, std::numeric_limits<double>::infinity());
        for (int64_t i = 0; i < nodes; ++i) length_[(int64_t(1) << i) * nodes + i] = 0;
        for (int64_t visited = 1; visited < subsets; ++visited) {
            const double* here = length_.data() + visited * nodes;
            for (int64_t next = 0; next < nodes; ++next) {
                if (visited >> next & 1) continue;
                const double* row = weights.data() + next * nodes; // symmetric
                double least = std::numeric_limits<double>::infinity();
                for (int64_t i = 0; i < nodes; ++i) {
                    const double length = here[i] + row[i];
                    least = length < least ? length : least;
                }
                length_[(visited | int64_t(1) << next) * nodes + next] = least;
            }
        }
        return walk_back(weights, nodes, path);
    }

  private:
    double walk_back(const std::vector<double>& weights, int64_t nodes, std::vector<int>& path) const {
        int64_t visited = (int64_t(1) << nodes) - 1;
        const double* here = length_.data() + visited * nodes;
        int64_t last = std::min_element(here, here + nodes) - here;
        const double shortest = here[last];
        path.assign(1, last);
        while (visited &= ~(int64_t(1) << last)) {
            const double* before = length_.data() + visited * nodes;
            const double* row = weights.data() + last * nodes;
            int64_t best = -1; // only of those visited, also where sums are infinite
            for (int64_t i = 0; i < nodes; ++i)
                if (visited >> i & 1 && (best < 0 || before[i] + row[i] < before[best] + row[best])) best = i;
            path.push_back(last = best);
        }
        return shortest;
    }

    std::vector<double> length_;
};

// Stretches of a path turned around as long as that shortens it (2-opt, Croes 1958).
inline double shorten_path(const std::vector<double>& weights, std::vector<int>& path) {
    const int64_t nodes = path.size();
    const auto weight = [&](int64_t i, int64_t j) { return weights[path[i] * nodes + path[j]]; };
    for (bool better = true; better;) {
        better = false;
        for (int64_t i = 0; i < nodes; ++i)
            for (int64_t j = i + 1; j < nodes; ++j) {
                double gain = 0;
                if (i > 0) gain += weight(i - 1, i) - weight(i - 1, j);
                if (j + 1 < nodes) gain += weight(j, j + 1) - weight(i, j + 1);
                if (gain > 1e-12 * (weight(i, j) + 1e-300)) {
                    std::reverse(path.begin() + i, path.begin() + j + 1);
                    better = true;
                }
            }
    }
    return path_length(weights, path);
}
