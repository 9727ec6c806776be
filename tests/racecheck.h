// What cuda_shim.h tells the race checker of racecheck.cpp about: who runs, and what orders accesses. Compiled with
// -DRACECHECK -fsanitize=thread every load and store of a kernel comes by itself; without, nothing is checked.
#pragma once
#include <cstddef>

namespace racecheck {
#ifdef RACECHECK
void begin_launch(const void* kernel);                                           // ordered after all launches before
void begin_block(unsigned block, const void* shared, size_t bytes, size_t most); // of `most` it may touch `bytes`
void run(unsigned thread, const void* stack, size_t stack_bytes); // what is accessed from here on is this thread's
void pause();                                                     // and from here on nobody's
void pass_block_barrier();                                        // every thread of the block has arrived
void pass_warp_barrier(unsigned warp);
void fence(); // __threadfence of the thread that runs
void atomic(void* place, size_t bytes, const void* code);
void use_atomic(const void* place); // what the thread's atomic just read there
void atomic_read(const void* place, size_t bytes, const void* code);
void ignore(const void* place, size_t bytes);           // never memory of the kernel
void expect_unwritten(const void* place, size_t bytes); // shared memory that may be read before it is written
const char* found();                                    // the first defect of the launch, or null
#else
inline void begin_launch(const void*) {}
inline void begin_block(unsigned, const void*, size_t, size_t) {}
inline void run(unsigned, const void*, size_t) {}
inline void pause() {}
inline void pass_block_barrier() {}
inline void pass_warp_barrier(unsigned) {}
inline void fence() {}
inline void atomic(void*, size_t, const void*) {}
inline void use_atomic(const void*) {}
inline void atomic_read(const void*, size_t, const void*) {}
inline void ignore(const void*, size_t) {}
inline void expect_unwritten(const void*, size_t) {}
inline const char* found() { return nullptr; }
#endif
} // namespace racecheck
