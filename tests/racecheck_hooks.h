// What g++ -fsanitize=thread calls at every load and store, and what it leaves to libc (-Wl,--wrap). Part of
// racecheck.cpp.
#pragma once
#include <cstddef>

using racecheck::Kind;
using racecheck::touch;

extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}

#define HOOK(NAME, BYTES, KIND)                                                                                        \
    void __tsan_##NAME##BYTES(void* place) { touch(place, BYTES, Kind::KIND, __builtin_return_address(0)); }
#define HOOKS(BYTES)                                                                                                   \
    HOOK(read, BYTES, read)                                                                                            \
    HOOK(write, BYTES, write)                                                                                          \
    HOOK(unaligned_read, BYTES, read)                                                                                  \
    HOOK(unaligned_write, BYTES, write) HOOK(volatile_read, BYTES, read) HOOK(volatile_write, BYTES, write)
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)

void __tsan_read_range(void* place, size_t bytes) { touch(place, bytes, Kind::read, __builtin_return_address(0)); }
void __tsan_write_range(void* place, size_t bytes) { touch(place, bytes, Kind::write, __builtin_return_address(0)); }

void* __real_memcpy(void* to, const void* from, size_t bytes);
void* __real_memmove(void* to, const void* from, size_t bytes);
void* __real_memset(void* to, int value, size_t bytes);
void* __wrap_memcpy(void* to, const void* from, size_t bytes) {
    touch(from, bytes, Kind::read, __builtin_return_address(0));
    touch(to, bytes, Kind::write, __builtin_return_address(0));
    return __real_memcpy(to, from, bytes);
}
void* __wrap_memmove(void* to, const void* from, size_t bytes) {
    touch(from, bytes, Kind::read, __builtin_return_address(0));
    touch(to, bytes, Kind::write, __builtin_return_address(0));
    return __real_memmove(to, from, bytes);
}
void* __wrap_memset(void* to, int value, size_t bytes) {
    touch(to, bytes, Kind::write, __builtin_return_address(0));
    return __real_memset(to, value, bytes);
}
}
