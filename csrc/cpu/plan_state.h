// A plan with everything its cost is made of, kept so that an exchange of two devices is counted in microseconds.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "plan_matching.h"
#include "plan_path.h"

// What a plan is made from; the terms are those of fmcompress/_ops/scheduling.py.
struct Tables {
    const double *latency, *per_byte, *hand_over, *occupied; // [devices, devices]
    const double* compute;                                   // [stages, devices]
    const double* gradient_bytes;                            // [stages]
    int64_t devices, stages, replicas, micro_batches;
    bool free_order;
};

struct Terms {
    double exchange = 0, hand_over = 0, compute = 0, waiting = 0;
    double total() const { return exchange + hand_over + compute + waiting; }
};

// Plans by: devices whose memory is too small, seconds, then all groups' exchanges, since many plans share the slowest.
struct Score {
    int64_t small = 0;
    double total = 0, exchanges = 0;

    bool better_than(const Score& other) const {
        constexpr double noise = 1e-12; // sums in another order
        if (small != other.small) return small < other.small;
        if (std::isinf(other.total)) return std::isfinite(total) || exchanges < other.exchanges * (1 - noise);
        if (std::abs(total - other.total) > noise * other.total) return total < other.total;
        return exchanges < other.exchanges * (1 - noise);
    }
};

// waiting_s of fmcompress/_ops/scheduling.py, where it is explained.
inline double waiting_seconds(const std::vector<double>& compute, const std::vector<double>& hand_over,
                              const std::vector<double>& occupied, int64_t micro_batches) {
    const int64_t stages = compute.size(), others = micro_batches - 1;
    if (others == 0) return 0;
    std::vector<double> trip(stages + 1, 0), to_last(stages + 1, 0), chain(others, 0);
    const auto port = [&](int64_t link) { return link >= 0 && link + 1 < stages ? occupied[link] : 0; };
    double busiest = 0;
    for (const double seconds : compute) busiest = std::max(busiest, seconds);
    for (const double seconds : occupied) busiest = std::max(busiest, seconds);
    for (int64_t s = 0; s < stages; ++s) {
        double way = compute[s], turns = std::max(0.0, port(s - 1) + port(s) - compute[s]);
        trip[1] = std::max(trip[1], way + turns);
        for (int64_t t = s + 1; t < stages; ++t) {
            way += compute[t] + hand_over[t - 1];
            turns = std::max(0.0, port(s - 1) - compute[s] / 2) + std::max(0.0, port(t) - compute[t] / 2);
            trip[t - s + 1] = std::max(trip[t - s + 1], way + turns);
        }
        to_last[stages - s] = way + turns;
    }
    double longest = others * busiest;
    for (int64_t through = 1; through < others; ++through)
        for (int64_t k = 1; k <= std::min(stages, through); ++k)
            chain[through] = std::max(chain[through], trip[k] + chain[through - k]);
    for (int64_t k = 1; k <= std::min(stages, others); ++k) longest = std::max(longest, to_last[k] + chain[others - k]);
    return longest;
}

struct Link {
    double hand_over = 0, occupied = 0;
};

// The parts of a plan's cost that are not derived from others; copied to undo.
struct Parts {
    std::vector<int> stage_of;             // [devices], -1 idle
    std::vector<std::vector<int>> members; // [stages] devices, and at the end the idle ones
    std::vector<double> exchange, compute; // [stages]
    std::vector<double> own;               // [devices] a device's exchange in its group
    std::vector<double> weights;           // [stages, stages] between groups, where the order is free
    std::vector<int> path;                 // the order of groups; 0, 1, 2, … where it is given
    std::vector<Link> links;               // [stages - 1] where the order is given
    Score score;
};

// words: Bottleneck's
template <int words> class State : public Parts {
  public:
    State(const Tables& tables, const int64_t* stages_of) : t_(tables), matching_(tables.replicas) {
        stage_of.assign(stages_of, stages_of + t_.devices);
        members.resize(t_.stages + 1);
        for (int d = 0; d < t_.devices; ++d) members[stage_of[d] < 0 ? t_.stages : stage_of[d]].push_back(d);
        exchange.resize(t_.stages);
        compute.resize(t_.stages);
        own.resize(t_.devices);
        path.resize(t_.stages);
        for (int g = 0; g < t_.stages; ++g) path[g] = g;
        if (t_.free_order) weights.assign(t_.stages * t_.stages, 0);
        links.resize(t_.stages - 1);
        for (int g = 0; g < t_.stages; ++g) count_group(g);
        if (t_.free_order)
            for (int a = 0; a < t_.stages; ++a)
                for (int b = 0; b < a; ++b)
                    weights[a * t_.stages + b] = weights[b * t_.stages + a] = link(members[a], members[b]).hand_over;
        else
            for (int g = 0; g + 1 < t_.stages; ++g) links[g] = link(members[g], members[g + 1]);
        score = count(exact_stages);
    }

    static constexpr int64_t exact_stages = 12, exact_in_search = 9;

    Parts& parts() { return *this; }
    const Tables& tables() const { return t_; }
    int64_t evaluations = 0;

    Terms terms() const {
        Terms terms;
        terms.exchange = *std::ranges::max_element(exchange);
        for (const double seconds : compute) terms.compute += seconds;
        if (t_.free_order) {
            terms.hand_over = path_length(weights, path);
            return terms;
        }
        std::vector<double> steps, busy;
        for (const Link& link : links) {
            terms.hand_over += link.hand_over;
            steps.push_back(link.hand_over);
            busy.push_back(link.occupied);
        }
        terms.waiting = waiting_seconds(compute, steps, busy, t_.micro_batches);
        return terms;
    }

    // The order of groups over again, as well as the number of stages allows.
    void settle() { score = count(exact_stages); }

    // What a plan with devices u and v exchanged scores, as far as it beats `best`; the plan is as before.
    Score try_exchange(int u, int v, const Score& best) {
        ++evaluations;
        before_ = *this; // small beside the matchings
        put(u, v);
        count_group(stage_of[u]);
        count_group(stage_of[v]);
        const Score tried = count_links(stage_of[u], stage_of[v], best);
        parts() = before_;
        return tried;
    }

    void exchange_devices(int u, int v) {
        put(u, v);
        const int a = stage_of[u], b = stage_of[v];
        count_group(a);
        count_group(b);
        relink(a, b);
        score = count(exact_in_search);
    }

    // Groups first … last of a given order turned around: what the plan scores so; kept if that is better.
    bool try_reversal(int first, int last) {
        ++evaluations;
        const Parts before = *this;
        std::reverse(members.begin() + first, members.begin() + last + 1);
        for (int g = first; g <= last; ++g) {
            for (const int d : members[g]) stage_of[d] = g;
            count_group(g);
        }
        std::reverse(links.begin() + first, links.begin() + last);
        for (const int g : {first - 1, last})
            if (g >= 0 && g + 1 < t_.stages) links[g] = link(members[g], members[g + 1]);
        score = count(exact_in_search);
        if (score.better_than(before.score)) return true;
        parts() = before;
        return false;
    }

  private:
    int64_t of(int stage) const { return t_.free_order ? 0 : stage; } // stages are alike where their order is free

    double pair(int stage, int d, int e) const {
        const int64_t at = d * t_.devices + e;
        return t_.latency[at] + t_.gradient_bytes[of(stage)] * t_.per_byte[at];
    }

    void put(int u, int v) {
        const int a = stage_of[u], b = stage_of[v];
        *std::ranges::find(members[a < 0 ? t_.stages : a], u) = v;
        *std::ranges::find(members[b < 0 ? t_.stages : b], v) = u;
        std::swap(stage_of[u], stage_of[v]);
    }

    void count_group(int stage) {
        if (stage < 0) return;
        for (const int d : members[stage]) {
            double sum = 0;
            for (const int e : members[stage])
                if (e != d) sum += pair(stage, d, e);
            own[d] = sum;
        }
        slowest(stage);
    }

    void slowest(int stage) {
        exchange[stage] = compute[stage] = 0;
        for (const int d : members[stage]) {
            exchange[stage] = std::max(exchange[stage], own[d]);
            compute[stage] = std::max(compute[stage], t_.compute[of(stage) * t_.devices + d]);
        }
    }

    double matched(const double* table, const std::vector<int>& a, const std::vector<int>& b) {
        for (int64_t i = 0; i < t_.replicas; ++i) {
            const double* from = table + a[i] * t_.devices;
            double* to = matching_.row(i);
            for (int64_t j = 0; j < t_.replicas; ++j) to[j] = from[b[j]];
        }
        return matching_.solve();
    }

    Link link(const std::vector<int>& a, const std::vector<int>& b) {
        return {matched(t_.hand_over, a, b), t_.micro_batches > 1 ? matched(t_.occupied, a, b) : 0};
    }

    void relink(int a, int b) {
        if (t_.free_order) {
            for (const int g : {a, b})
                for (int other = 0; g >= 0 && other < t_.stages; ++other)
                    if (other != g && !(g == b && other == a))
                        weights[g * t_.stages + other] = weights[other * t_.stages + g] =
                            link(members[g], members[other]).hand_over;
            return;
        }
        for (int g = 0; g + 1 < t_.stages; ++g)
            if (g == a || g == b || g + 1 == a || g + 1 == b) links[g] = link(members[g], members[g + 1]);
    }

    // After the groups were counted: links, order and score; infinite as soon as it cannot beat `best`.
    Score count_links(int a, int b, const Score& best) {
        Score bound = partial();
        if (!bound.better_than(best)) return hopeless(bound);
        relink(a, b);
        if (t_.free_order) {
            bound.total = *std::ranges::max_element(exchange) + tree_length(weights, t_.stages, nearest_);
            for (const double seconds : compute) bound.total += seconds;
            if (!bound.better_than(best)) return hopeless(bound);
        }
        return count(exact_in_search);
    }

    Score hopeless(Score bound) const {
        bound.total = std::numeric_limits<double>::infinity();
        bound.small += t_.devices;
        return bound;
    }

    // The score without what links add.
    Score partial() const {
        Score score;
        double slowest = 0;
        for (int g = 0; g < t_.stages; ++g) {
            slowest = std::max(slowest, exchange[g]);
            score.exchanges += exchange[g];
            score.total += compute[g];
            if (std::isinf(compute[g]))
                for (const int d : members[g]) score.small += std::isinf(t_.compute[of(g) * t_.devices + d]);
        }
        score.total += slowest;
        return score;
    }

    Score count(int64_t exact) {
        Score score = partial();
        if (t_.free_order) {
            score.total +=
                t_.stages <= exact ? held_karp_.solve(weights, t_.stages, path) : shorten_path(weights, path);
            return score;
        }
        score.total = terms().total();
        return score;
    }

    const Tables& t_;
    Bottleneck<words> matching_;
    HeldKarp held_karp_;
    std::vector<double> nearest_;
    Parts before_; // of try_exchange
};
