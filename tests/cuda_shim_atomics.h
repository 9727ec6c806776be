// The atomics and fences of CUDA for cuda_shim.h: fibers switch at barriers only, so that a plain change is one; the
// race checker hears of each.
#pragma once
#include <type_traits>

#include "racecheck.h"

#define SHIM_CALLED SHIM_OWN __attribute__((noinline)) // so that it knows where it was called

// What an atomic returns: who does not use it has read nothing, and a GPU makes a reduction of it.
template <class Value> struct Fetched {
    const Value* place;
    Value value;
    SHIM_OWN operator Value() const {
        racecheck::use_atomic(place);
        return value;
    }
};

template <class Value, class Change>
SHIM_OWN Fetched<Value> shim_atomic(Value* place, const Change& change, const void* code) {
    static_assert(sizeof(Value) == 4 || sizeof(Value) == 8);
    racecheck::atomic(place, sizeof(Value), code);
    const Value before = *place;
    *place = change(before);
    return {place, before};
}

// The second parameter takes the type of the first, as CUDA's overloads do.
#define SHIM_ATOMIC(NAME, RESULT)                                                                                      \
    template <class Value> SHIM_CALLED Fetched<Value> NAME(Value* place, std::type_identity_t<Value> value) {          \
        return shim_atomic(place, [value](Value before) { return Value(RESULT); }, __builtin_return_address(0));       \
    }
SHIM_ATOMIC(atomicAdd, before + value)
SHIM_ATOMIC(atomicSub, before - value)
SHIM_ATOMIC(atomicExch, (before, value))
SHIM_ATOMIC(atomicMin, value < before ? value : before)
SHIM_ATOMIC(atomicMax, before < value ? value : before)
SHIM_ATOMIC(atomicAnd, before& value)
SHIM_ATOMIC(atomicOr, before | value)
SHIM_ATOMIC(atomicXor, before ^ value)
SHIM_ATOMIC(atomicInc, before >= value ? 0 : before + 1)
SHIM_ATOMIC(atomicDec, before == 0 || before > value ? value : before - 1)

template <class Value> SHIM_CALLED Fetched<Value> atomicCAS(Value* place, std::type_identity_t<Value> expected,
                                                            std::type_identity_t<Value> value) {
    return shim_atomic(
        place, [=](Value before) { return before == expected ? value : before; }, __builtin_return_address(0));
}

// A load that may meet atomics of others, as ld.relaxed is.
template <class Value> SHIM_CALLED Value shim_load(const Value* place) {
    racecheck::atomic_read(place, sizeof(Value), __builtin_return_address(0));
    return *place;
}

// Fibers see what others wrote at once; of its meaning the race checker keeps account.
SHIM_OWN inline void __threadfence() { racecheck::fence(); }
SHIM_OWN inline void __threadfence_block() {} // orders nothing that a barrier does not
