// The atomics and fences of CUDA for cuda_shim.h: fibers switch at barriers only, so that a plain change is one; the
// race checker hears of each.
#pragma once
#include <concepts>

#include "racecheck.h"

template <class Value, class Change> SHIM_OWN Value shim_atomic(Value* place, const Change& change) {
    static_assert(sizeof(Value) == 4 || sizeof(Value) == 8);
    racecheck::atomic(place, sizeof(Value));
    const Value before = *place;
    *place = change(before);
    return before;
}

// The second parameter takes the type of the first, as CUDA's overloads do.
#define SHIM_ATOMIC(NAME, RESULT)                                                                                      \
    template <class Value> SHIM_OWN Value NAME(Value* place, std::type_identity_t<Value> value) {                      \
        return shim_atomic(place, [value](Value before) { return Value(RESULT); });                                    \
    }
SHIM_ATOMIC(atomicAdd, before + value)
SHIM_ATOMIC(atomicSub, before - value)
SHIM_ATOMIC(atomicExch, (before, value))
SHIM_ATOMIC(atomicMin, value < before ? value : before)
SHIM_ATOMIC(atomicMax, before < value ? value : before)
SHIM_ATOMIC(atomicAnd, before & value)
SHIM_ATOMIC(atomicOr, before | value)
SHIM_ATOMIC(atomicXor, before ^ value)
SHIM_ATOMIC(atomicInc, before >= value ? 0 : before + 1)
SHIM_ATOMIC(atomicDec, before == 0 || before > value ? value : before - 1)
#undef SHIM_ATOMIC

template <class Value>
SHIM_OWN Value atomicCAS(Value* place, std::type_identity_t<Value> expected, std::type_identity_t<Value> value) {
    return shim_atomic(place, [=](Value before) { return before == expected ? value : before; });
}

// Fibers see what others wrote at once; of its meaning the race checker keeps account.
SHIM_OWN inline void __threadfence() { racecheck::fence(); }
SHIM_OWN inline void __threadfence_block() {} // orders nothing that a barrier does not
