// A race checker for kernels under cuda_shim.h: the hooks that g++ -fsanitize=thread calls at every load and store, and
// a shadow of all memory that they touch. Every access must be ordered (racecheck_order.h) after those that it
// conflicts with. Linked in place of libtsan, compiled without instrumentation.
#include "racecheck.h"

#include <dlfcn.h>

#include <cstdio>
#include <string>
#include <vector>

#include "racecheck_shadow.h"

namespace racecheck {
enum class Kind { read, write, atomic, atomic_read };
static const char* const PAST[] = {"read", "wrote", "changed atomically", "read atomically"};

constexpr uintptr_t PAGE = 4096;
constexpr size_t MOST_PAGES = 1 << 11; // of shadow that a launch inherits: they are 32 times as large
using Page = std::vector<Word>;

struct Span {
    uintptr_t begin = 0, end = 0;
    Span() = default;
    Span(const void* place, size_t bytes) : begin(reinterpret_cast<uintptr_t>(place)), end(begin + bytes) {}
    bool holds(uintptr_t place) const { return place - begin < end - begin; }
};

static Order order;
static bool running = false, defect = false;
static uint32_t who = 0, launches = 0, blocks = 0;
static const void* kernel = nullptr;
static Span stack, shared, all_shared, ignored;
static std::vector<Word> shared_words;
static std::unordered_map<uintptr_t, std::unique_ptr<Page>> pages;
static uintptr_t last_page = 0;
static Page* last_words = nullptr;
static std::string message;

static const char* library_base() {
    Dl_info info;
    dladdr(reinterpret_cast<const void*>(&library_base), &info);
    return static_cast<const char*>(info.dli_fbase);
}
static const char* const base = library_base();

// Where code lies in the library, for addr2line.
static uint32_t in_library(const void* code) { return uint32_t(static_cast<const char*>(code) - base); }

// Nothing that the checker does itself is looked at, its own memcpy neither.
struct Checking {
    const bool before = running;
    Checking() { running = false; }
    ~Checking() { running = before; }
};

static void report(const std::string& what) {
    char where[64];
    snprintf(where, sizeof where, " [block %u of kernel+0x%x]", who >> THREAD_BITS, in_library(kernel));
    message = what + where;
    defect = true;
}

static std::string place_of(uintptr_t place) {
    char text[64];
    if (all_shared.holds(place))
        snprintf(text, sizeof text, "shared memory at byte %lu", (unsigned long)(place - shared.begin));
    else
        snprintf(text, sizeof text, "global memory at 0x%lx", (unsigned long)place);
    return text;
}

static std::string told(const Access& access, Kind kind, bool with_block) {
    char text[128];
    std::string thread = "thread " + std::to_string(access.thread());
    if (with_block) thread += " of block " + std::to_string(access.block());
    snprintf(text, sizeof text, "%s %s (code+0x%x)", thread.c_str(), PAST[int(kind)], access.code);
    return text;
}

static void report_race(uintptr_t place, const Access& before, Kind was, const Access& now, Kind is) {
    const bool other = before.block() != now.block();
    report("race in " + place_of(place) + ": " + told(before, was, other) + ", " + told(now, is, other) +
           (other ? ", and nothing orders blocks of one launch but a __threadfence before an atomic and one after the "
                    "atomic that reads it"
                  : ", no barrier between"));
}

// Whether every one of `recent` comes before.
static bool after_all(uintptr_t place, const Recent& recent, Kind was, const Access& access, Kind is) {
    for (size_t i = 0; i < recent.count(); ++i) {
        const Access& before = recent[i];
        if (before.time == 0 || order.follows(who, before, was == Kind::atomic ? place : 0)) continue;
        report_race(place, before, was, access, is);
        return false;
    }
    return true;
}

static bool same(const Access& a, const Access& b) { return a.who == b.who && a.time == b.time; }

static void touch_cell(Cell& cell, uintptr_t place, const Access& access, Kind kind) {
    if (kind == Kind::read && same(cell.reads.at[0], access)) return;
    if (cell.write.time && !order.follows(who, cell.write))
        return report_race(place, cell.write, Kind::write, access, kind);
    const bool changes = kind == Kind::write || kind == Kind::atomic, plain = kind == Kind::write || kind == Kind::read;
    if (changes && !after_all(place, cell.reads, Kind::read, access, kind)) return;
    if (plain && !after_all(place, cell.atomics, Kind::atomic, access, kind)) return;
    if (kind == Kind::write && !after_all(place, cell.atomic_reads, Kind::atomic_read, access, kind)) return;
    if (kind == Kind::read) cell.reads.add(access);
    if (kind == Kind::atomic_read) cell.atomic_reads.add(access);
    if (kind == Kind::atomic) cell.atomics.add(access);
    if (kind == Kind::write) cell = {access, {}, {}, {}};
}

static Word& global_word(uintptr_t place) {
    const uintptr_t page = place / PAGE;
    if (!last_words || page != last_page) {
        auto& found = pages[page];
        if (!found) found = std::make_unique<Page>(PAGE / 4);
        last_page = page;
        last_words = found.get();
    }
    return (*last_words)[place % PAGE / 4];
}

// Some bytes of one word.
static void touch_word(uintptr_t place, size_t bytes, const Access& access, Kind kind) {
    const bool in_shared = shared.holds(place);
    const uintptr_t begin = place / 4 * 4;
    Word& word = in_shared ? shared_words[(begin - shared.begin) / 4] : global_word(begin);
    word.renew(in_shared ? blocks : launches);
    const uint32_t mask = ((1u << bytes) - 1) << place % 4;
    if (kind == Kind::write || kind == Kind::atomic) word.written |= mask;
    if (mask == 0xf && !word.bytes) return touch_cell(word.whole, place, access, kind);
    if (!word.bytes) {
        word.bytes = std::make_unique<Cell[]>(4);
        for (int b = 0; b < 4; ++b) word.bytes[b] = word.whole;
    }
    for (int b = 0; b < 4 && !defect; ++b)
        if (mask >> b & 1) touch_cell(word.bytes[b], begin + b, access, kind);
}

// Whether a read meets bytes that the block has not written. Structs are copied with their padding, which nobody
// writes: of more than 16 bytes one must be.
static bool unwritten(uintptr_t place, size_t bytes) {
    size_t missing = 0;
    for (uintptr_t at = place; at < place + bytes; ++at) {
        Word& word = shared_words[(at - shared.begin) / 4];
        word.renew(blocks);
        missing += !(word.written >> at % 4 & 1);
    }
    return bytes > 16 ? missing == bytes : missing > 0;
}

static void touch(const void* address, size_t bytes, Kind kind, const void* code) {
    uintptr_t place = reinterpret_cast<uintptr_t>(address);
    if (!running || defect || stack.holds(place) || ignored.holds(place)) return;
    const Checking checking;
    const Access access{order.now, who, in_library(code)};
    if (all_shared.holds(place) && place + bytes > shared.end)
        return report(place_of(place) + " lies beyond its size: " + told(access, kind, false));
    if (shared.holds(place) && kind != Kind::write && unwritten(place, bytes))
        return report(place_of(place) + " is read before it is written: " + told(access, kind, false));
    for (const uintptr_t end = place + bytes; place < end && !defect;) {
        const uintptr_t next = place / 4 * 4 + 4, stop = next < end ? next : end;
        touch_word(place, stop - place, access, kind);
        place = stop;
    }
}

void begin_launch(const void* of) {
    kernel = of;
    ++launches;
    order.begin_launch();
    defect = false;
    if (pages.size() < MOST_PAGES) return;
    pages.clear();
    last_words = nullptr;
}
void begin_block(unsigned block, const void* memory, size_t bytes, size_t most) {
    ++blocks;
    order.begin_block();
    who = block << THREAD_BITS;
    shared = {memory, bytes};
    all_shared = {memory, most};
    shared_words.resize(most / 4);
}
void run(unsigned thread, const void* place, size_t bytes) {
    who = who / MOST_THREADS * MOST_THREADS + thread;
    stack = {place, bytes};
    running = true;
}
void pause() { running = false; }
void pass_block_barrier() {
    const Checking checking;
    order.pass_block_barrier();
}
void pass_warp_barrier(unsigned warp) {
    const Checking checking;
    order.pass_warp_barrier(warp);
}
void fence() {
    const Checking checking;
    order.fence(who);
}
void atomic(void* place, size_t bytes, const void* code) {
    touch(place, bytes, Kind::atomic, code);
    const Checking checking;
    if (!all_shared.holds(reinterpret_cast<uintptr_t>(place)))
        order.atomic(who, reinterpret_cast<uintptr_t>(place), bytes);
}
void use_atomic(const void* place) {
    const Checking checking;
    order.atomic_read(who, reinterpret_cast<uintptr_t>(place));
}
void atomic_read(const void* place, size_t bytes, const void* code) {
    touch(place, bytes, Kind::atomic_read, code);
    const Checking checking;
    order.atomic_read(who, reinterpret_cast<uintptr_t>(place));
}
void ignore(const void* place, size_t bytes) { ignored = {place, bytes}; }
void expect_unwritten(const void* place, size_t bytes) {
    const Checking checking;
    const auto begin = reinterpret_cast<uintptr_t>(place);
    for (uintptr_t at = begin; at < begin + bytes && shared.holds(at); ++at) {
        Word& word = shared_words[(at - shared.begin) / 4];
        word.renew(blocks);
        word.written |= 1u << at % 4;
    }
}
const char* found() { return defect ? message.c_str() : nullptr; }
} // namespace racecheck

#include "racecheck_hooks.h"
