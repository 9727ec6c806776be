// Which accesses of an emulated launch are ordered: by barriers inside a block, and between blocks by a fence before an
// atomic and a fence after another one of the same address. racecheck.cpp asks for every access. Only this run counts,
// in which blocks come one after the other: what an atomic of a later one reads orders it, though it might come
// earlier.
#pragma once
#include <cstdint>
#include <map>
#include <unordered_map>
#include <utility>

namespace racecheck {
constexpr uint32_t THREAD_BITS = 10, MOST_THREADS = 1 << THREAD_BITS;

// time: counted by what orders, from 1 on; 0 is no access. who: block << THREAD_BITS | thread.
struct Access {
    uint32_t time = 0, who = 0, code = 0;

    uint32_t block() const { return who >> THREAD_BITS; }
    uint32_t thread() const { return who % MOST_THREADS; }
    uint32_t warp() const { return who / 32; } // of all warps of the launch
};

// What a thread that fenced at `fence` had behind it: its own accesses, its warp's before the last warp barrier, its
// block's before the last block barrier; and of atomics of these `bytes` its own up to `atomic`.
struct Release {
    uint32_t fence, atomic, warp_barrier, block_barrier, bytes;
};

using Releases = std::map<std::pair<uint32_t, uintptr_t>, Release>; // by who released, with an atomic of which place

inline void join(Releases& to, const Releases& from) {
    for (const auto& [key, release] : from) {
        Release& held = to[key];
        if (held.atomic <= release.atomic) held = release; // the later one of a thread and place holds all before it
    }
}

struct Thread {
    Releases known, seen, at_fence; // what it acquired; what its atomics read; what it knew at its last fence
    Release last = {};              // its last fence
};

class Order {
  public:
    uint32_t now = 1;

    void begin_launch() {
        clocks.clear();
        ++now;
    }
    void begin_block() {
        block_barrier = ++now;
        for (uint32_t& time : warp_barriers) time = now;
        if (fenced)
            for (Thread& thread : threads) thread = {};
        fenced = false;
    }
    void pass_block_barrier() {
        block_barrier = ++now;
        if (fenced) share(0, MOST_THREADS);
    }
    void pass_warp_barrier(uint32_t warp) {
        warp_barriers[warp] = ++now;
        if (fenced) share(32 * warp, 32);
    }
    // A fence acquires what the thread's atomics have read, and its next atomics release what is behind it.
    void fence(uint32_t who) {
        Thread& own = threads[who % MOST_THREADS];
        fenced = true;
        join(own.known, own.seen);
        own.at_fence = own.known;
        ++now;
        own.last = {now, now, warp_barriers[who % MOST_THREADS / 32], block_barrier, 0};
    }
    void atomic_read(uint32_t who, uintptr_t place) {
        const auto clock = clocks.find(place);
        if (clock == clocks.end()) return;
        join(threads[who % MOST_THREADS].seen, clock->second);
        fenced = true;
    }
    void atomic(uint32_t who, uintptr_t place, size_t bytes) {
        Thread& own = threads[who % MOST_THREADS];
        if (own.last.fence == 0) return;
        Releases& clock = clocks[place];
        own.last.atomic = now++;
        join(clock, own.at_fence);
        clock[{who, place}] = own.last;
        clock[{who, place}].bytes = uint32_t(bytes);
    }

    // Whether `who`, who runs now, comes after an earlier access, of `atomic_place` if it was an atomic.
    bool follows(uint32_t who, const Access& before, uintptr_t atomic_place = 0) const {
        if (before.who == who) return true;
        const uint32_t warp = who % MOST_THREADS / 32;
        if (before.who / MOST_THREADS == who / MOST_THREADS) {
            if (before.time < block_barrier) return true;
            if (before.warp() == who / 32 && before.time < warp_barriers[warp]) return true;
        }
        return fenced && acquired(threads[who % MOST_THREADS].known, before, atomic_place);
    }

  private:
    static bool acquired(const Releases& known, const Access& before, uintptr_t atomic_place) {
        const uint32_t first = before.block() << THREAD_BITS;
        for (auto it = known.lower_bound({first, 0}); it != known.end(); ++it) {
            const auto& [who, place] = it->first;
            const Release& release = it->second;
            if (who >= first + MOST_THREADS) break;
            if (before.time < release.block_barrier) return true;
            if (before.warp() == who / 32 && before.time < release.warp_barrier) return true;
            if (before.who != who) continue;
            if (before.time < release.fence) return true;
            if (atomic_place - place < release.bytes && before.time <= release.atomic) return true;
        }
        return false;
    }

    void share(uint32_t first, uint32_t count) {
        Releases all;
        for (uint32_t t = first; t < first + count; ++t) join(all, threads[t].known);
        if (all.empty()) return;
        for (uint32_t t = first; t < first + count; ++t) threads[t].known = all;
    }

    uint32_t block_barrier = 1, warp_barriers[MOST_THREADS / 32] = {};
    bool fenced = false; // whether any thread of the block may know of others
    Thread threads[MOST_THREADS];
    std::unordered_map<uintptr_t, Releases> clocks; // of atomics
};
} // namespace racecheck
