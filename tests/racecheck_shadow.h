// What the race checker remembers of memory: who wrote each byte last, and who has read it since.
#pragma once
#include <memory>
#include <vector>

#include "racecheck_order.h"

namespace racecheck {
// Of a block's accesses since the last write these decide: the last one, the last of its warp by another lane, the last
// of another warp. Those of blocks before it are all kept: any of them may have been released, and any other not.
struct Recent {
    Access at[3];
    std::vector<Access> of_blocks_before;

    size_t count() const { return 3 + of_blocks_before.size(); }
    const Access& operator[](size_t i) const { return i < 3 ? at[i] : of_blocks_before[i - 3]; }

    void add(const Access& access) {
        const Access last = at[0];
        at[0] = access;
        if (last.time == 0 || last.who == access.who) return;
        if (last.block() != access.block()) {
            for (const Access& before : {last, at[1], at[2]})
                if (before.time) of_blocks_before.push_back(before);
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
