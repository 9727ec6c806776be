// What the race checker remembers of memory: who wrote each byte last, and who has read it since.
#pragma once
#include <memory>

#include "racecheck_order.h"

namespace racecheck {
// Of the accesses since the last write these decide: the last one, the last of its warp by another lane, the last of
// another warp, the last of another block. Whoever comes after those comes after all of its block.
struct Recent {
    Access at[4];

    void add(const Access& access) {
        const Access last = at[0];
        at[0] = access;
        if (last.time == 0 || last.who == access.who) return;
        if (last.block() != access.block()) {
            at[3] = last;
            at[1] = at[2] = {};
        } else if (last.warp() == access.warp()) {
            at[1] = last;
        } else {
            at[2] = last;
            at[1] = {};
        }
    }
};

struct Cell {
    Access write;
    Recent reads, atomics, atomic_reads;
};

// Four bytes; `bytes` once one of them was accessed alone.
struct Word {
    uint32_t age = 0;
    uint32_t written = 0; // a bit a byte; of shared memory
    Cell whole;
    std::unique_ptr<Cell[]> bytes;

    void renew(uint32_t current) {
        if (age == current) return;
        age = current;
        written = 0;
        whole = {};
        bytes.reset();
    }
};
} // namespace racecheck
