// Local search over plans: exchanges of two devices downhill, then chains of them that may go uphill on the way.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include "plan_state.h"

template <int words> class Search {
  public:
    Search(State<words>& state, int64_t seed, int64_t evaluations)
        : s_(state), t_(state.tables()), chance_(seed), budget_(evaluations), alike_(kinds()), order_(t_.devices) {
        std::iota(order_.begin(), order_.end(), 0);
    }

    // Until no chain helps, or the budget is spent.
    void run() {
        do descend();
        while (!spent() && chains());
        s_.settle();
    }

  private:
    static constexpr int longest_chain = 6;

    bool spent() const { return s_.evaluations >= budget_; }

    // Devices that no exchange of one for the other changes: alike to all others and on every stage.
    std::vector<int> kinds() const {
        std::vector<int> kind(t_.devices), first;
        for (int d = 0; d < t_.devices; ++d) {
            size_t k = 0;
            while (k < first.size() && !alike(first[k], d)) ++k;
            if (k == first.size()) first.push_back(d);
            kind[d] = k;
        }
        return kind;
    }

    bool alike(int d, int e) const {
        for (int64_t s = 0; s < t_.stages; ++s)
            if (t_.compute[s * t_.devices + d] != t_.compute[s * t_.devices + e]) return false;
        for (const double* table : {t_.latency, t_.per_byte, t_.hand_over, t_.occupied})
            for (int64_t i = 0; i < t_.devices; ++i)
                if (i != d && i != e && table[d * t_.devices + i] != table[e * t_.devices + i]) return false;
        return true;
    }

    void shuffle() {
        for (int64_t i = t_.devices - 1; i > 0; --i) std::swap(order_[i], order_[chance_() % (i + 1)]);
    }

    struct Move {
        int partner = -1;
        Score score;
    };

    // The best partner for u among those that are not locked; of devices alike in one group the first stands for all.
    Move best_move(int u, const std::vector<char>& locked, const Score& to_beat) {
        Move best{-1, to_beat};
        seen_.assign((t_.stages + 1) * t_.devices, 0);
        const int64_t begin = chance_() % t_.devices;
        for (int64_t i = 0; i < t_.devices && !spent(); ++i) {
            const int v = order_[(begin + i) % t_.devices], group = s_.stage_of[v];
            if (group == s_.stage_of[u] || locked[v] || alike_[u] == alike_[v]) continue;
            char& seen = seen_[(group < 0 ? t_.stages : group) * t_.devices + alike_[v]];
            if (std::exchange(seen, 1)) continue;
            const Score tried = s_.try_exchange(u, v, best.score);
            if (tried.better_than(best.score)) best = {v, tried};
        }
        return best;
    }

    void descend() {
        bool better = true;
        while (better && !spent()) {
            better = improve_one(critical());
            if (!better && !t_.free_order) better = reorder();
            if (!better) better = improve_one(std::vector<char>(t_.devices, 1));
        }
    }

    // Devices that the cost depends on now: those of the slowest group, the ends of each link's slowest pairs. No
    // exchange of two others makes a plan cheaper, though it may lessen what other groups exchange.
    std::vector<char> critical() const {
        std::vector<char> chosen(t_.devices);
        const double slowest = *std::ranges::max_element(s_.exchange);
        for (int64_t g = 0; g < t_.stages; ++g)
            if (s_.exchange[g] == slowest || std::isinf(s_.compute[g]))
                for (const int d : s_.members[g]) chosen[d] = 1;
        for (int64_t i = 0; i + 1 < t_.stages; ++i) {
            const int a = s_.path[i], b = s_.path[i + 1];
            const double hand_over = t_.free_order ? s_.weights[a * t_.stages + b] : s_.links[i].hand_over;
            for (const int d : s_.members[a])
                for (const int e : s_.members[b])
                    if (t_.hand_over[d * t_.devices + e] == hand_over ||
                        (t_.micro_batches > 1 && t_.occupied[d * t_.devices + e] == s_.links[i].occupied))
                        chosen[d] = chosen[e] = 1;
        }
        for (int64_t g = 0; g < t_.stages; ++g) // and the slowest devices of each stage
            for (const int d : s_.members[g])
                if (s_.compute[g] > 0 && t_.compute[(t_.free_order ? 0 : g) * t_.devices + d] == s_.compute[g])
                    chosen[d] = 1;
        return chosen;
    }

    // The first of the chosen devices in a new order for which an exchange helps makes the best of its exchanges.
    bool improve_one(const std::vector<char>& chosen) {
        const std::vector<char> none(t_.devices);
        shuffle();
        const std::vector<int> order = order_;
        for (const int u : order) {
            if (!chosen[u]) continue;
            const Move move = best_move(u, none, s_.score);
            if (move.partner < 0) continue;
            s_.exchange_devices(u, move.partner);
            return true;
        }
        return false;
    }

    bool reorder() {
        bool better = false;
        for (int first = 0; first < t_.stages; ++first)
            for (int last = first + 1; last < t_.stages && !spent(); ++last) better |= s_.try_reversal(first, last);
        return better;
    }

    // One chain from every device, those first that the cost depends on, until one has helped: u takes the place of v,
    // v that of w, …, and the last u's.
    bool chains() {
        const std::vector<char> first = critical();
        shuffle();
        std::vector<int> order = order_;
        std::ranges::stable_partition(order, [&](int d) { return first[d] != 0; });
        for (const int u : order)
            if (!spent() && chain(u)) return true;
        return false;
    }

    bool chain(int u) {
        const Parts start = s_;
        Parts best = start;
        std::vector<char> locked(t_.devices);
        for (int length = 0; length < longest_chain && !spent(); ++length) {
            const Score anything{t_.devices, std::numeric_limits<double>::infinity(),
                                 std::numeric_limits<double>::infinity()};
            const Move move = best_move(u, locked, anything);
            if (move.partner < 0) break;
            s_.exchange_devices(u, move.partner);
            locked[u] = 1;
            u = move.partner;
            if (s_.score.better_than(best.score)) best = s_;
        }
        const bool better = best.score.better_than(start.score);
        s_.parts() = better ? best : start;
        return better;
    }

    State<words>& s_;
    const Tables& t_;
    std::mt19937_64 chance_;
    int64_t budget_;
    std::vector<int> alike_, order_;
    std::vector<char> seen_;
};
