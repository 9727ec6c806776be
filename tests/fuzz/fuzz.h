// Fuzzes native kernels. Inputs that reach new edges of them are kept and changed further, as libFuzzer does; g++ has
// no libFuzzer, so the loop is here. What every input must survive: the address and undefined-behaviour sanitizers, and
// what the including file expects in its run(input), which returns how many numbers the input stands for.
//
//     PROGRAM RUNS [SEED [CRASH_FILE]]            so many runs, the same ones every time; or a time such as 3600s
//     PROGRAM replay FILE...                      single inputs, as CRASH_FILE has one after a failure
//     PROGRAM short RUNS [SEED [CRASH_FILE]]      tensors end a byte early: this must fail, or nothing is watched
//
// tests/fuzz/test_fuzz.py builds it. For an hour: FMCOMPRESS_FUZZ=3600s pytest tests/fuzz
#pragma once
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>

#include <sanitizer/common_interface_defs.h>

#include "cpu/isa.h"
#include "ops.h"

using Input = std::vector<uint8_t>;

// Which edges were run through, by a hash of where the last two stops were. Only the kernels are instrumented.

extern "C" char __executable_start; // so that addresses are the same in every process
static uint8_t edges[1 << 13];
static uintptr_t previous;

extern "C" void __sanitizer_cov_trace_pc() {
    const auto here =
        reinterpret_cast<uintptr_t>(__builtin_return_address(0)) - reinterpret_cast<uintptr_t>(&__executable_start);
    uint8_t& count = edges[(here * 0x9E3779B97F4A7C15 >> 40 ^ previous) % sizeof edges];
    if (count < 255) ++count;
    previous = here * 0x9E3779B97F4A7C15 >> 41;
}

// Hits of an edge in classes: 1, 2, 3, 4-7, 8-15, 16-31, 32-127, 128 and more.
static uint8_t hits_class(uint8_t hits) {
    return hits == 0    ? 0
           : hits < 4   ? 1 << (hits - 1)
           : hits < 8   ? 8
           : hits < 16  ? 16
           : hits < 32  ? 32
           : hits < 128 ? 64
                        : 128;
}

// What an input says. Beyond its end everything is 0 or, for the bytes of tensors, noise that the input seeds.
struct Reader {
    const Input& input;
    size_t at = 0;
    uint64_t state = 0x9E3779B97F4A7C15;

    explicit Reader(const Input& input) : input(input) {
        for (uint8_t byte : input) state = (state ^ byte) * 0x100000001B3;
    }
    uint64_t number(int bytes) {
        uint64_t value = 0;
        for (int i = 0; i < bytes; ++i)
            if (at < input.size()) value |= static_cast<uint64_t>(input[at++]) << 8 * i;
        return value;
    }
    uint8_t octet() {
        if (at < input.size()) return input[at++];
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        return static_cast<uint8_t>(state >> 32);
    }
    void fill(const Tensor& tensor) {
        for (size_t i = 0; i < tensor.nbytes(); ++i) tensor.octets()[i] = octet();
    }
};

static void expect(bool condition, const char* what) {
    if (condition) return;
    fprintf(stderr, "fuzz: %s\n", what);
    abort();
}

static bool same(const Tensor& a, const Tensor& b) {
    return a.nbytes() == b.nbytes() && (a.nbytes() == 0 || memcmp(a.octets(), b.octets(), a.nbytes()) == 0);
}

static bool bit_of(const uint8_t* stream, int64_t bit) { return stream[bit / 8] >> bit % 8 & 1; }

// Returns how many numbers the input stands for.
static int64_t run(const Input& input);

// The loop.

struct Random {
    uint64_t state;
    uint64_t below(uint64_t end) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        return (state * 0x2545F4914F6CDD1D >> 33) % end;
    }
};

struct Kept {
    Input input;
    int64_t weights; // what a run with it costs
};

// Mostly one of the cheaper ones: those that take a million weights would take all of the time.
static const Input& chosen(const std::vector<Kept>& corpus, Random& random) {
    const Kept* best = &corpus[random.below(corpus.size())];
    for (uint64_t tries = random.below(8); tries--;) {
        const Kept& other = corpus[random.below(corpus.size())];
        if (other.weights < best->weights) best = &other;
    }
    return best->input;
}

static Input changed(const std::vector<Kept>& corpus, Random& random) {
    static const uint8_t interesting[] = {0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 31, 32, 33, 63, 64, 65, 127, 128, 255};
    Input input = chosen(corpus, random);
    for (uint64_t steps = 1 + random.below(5); steps--;) {
        const size_t at = random.below(input.size() + 1), end = std::min<size_t>(input.size(), 24);
        const uint64_t what = random.below(6);
        if (what == 0 || input.empty())
            input.insert(input.begin() + at, static_cast<uint8_t>(random.below(256)));
        else if (what == 1)
            input.erase(input.begin() + at % input.size());
        else if (what == 2)
            input[random.below(end)] = static_cast<uint8_t>(random.below(256));
        else if (what == 3)
            input[random.below(end)] = interesting[random.below(sizeof interesting)];
        else if (what == 4)
            input[at % input.size()] ^= 1 << random.below(8);
        else { // the beginning of one and the end of another
            const Input& other = chosen(corpus, random);
            input.resize(at);
            if (at < other.size()) input.insert(input.end(), other.begin() + at, other.end());
        }
    }
    if (input.size() > 256) input.resize(256);
    return input;
}

static Input current;
static std::string crash_file = "fuzz.crash";

static void save_current() {
    std::ofstream(crash_file, std::ios::binary).write(reinterpret_cast<const char*>(current.data()), current.size());
    fprintf(stderr, "fuzz: the input is in %s\n", crash_file.c_str());
}

extern "C" const char* __asan_default_options() { return "handle_abort=1:detect_leaks=0"; }

int main(int count, char** arguments) {
    __sanitizer_set_death_callback(save_current);
    if (count > 2 && std::string(arguments[1]) == "short") {
        torch::stable::shortfall = 1;
        --count, ++arguments;
    }
    if (count > 2 && std::string(arguments[1]) == "replay") {
        for (int i = 2; i < count; ++i) {
            std::ifstream file(arguments[i], std::ios::binary);
            run(current = Input(std::istreambuf_iterator<char>(file), {}));
        }
        return 0;
    }
    if (count < 2) return fprintf(stderr, "fuzz: expected RUNS, such as 20000 or 3600s\n"), 2;
    const std::string limit = arguments[1];
    const bool timed = limit.back() == 's';
    const uint64_t most = std::stoull(limit);
    Random random{0x9E3779B97F4A7C15 * (count > 2 ? std::stoull(arguments[2]) * 2 + 1 : 1)};
    if (count > 3) crash_file = arguments[3];
    const auto begin = std::chrono::steady_clock::now();
    const auto seconds = [&] {
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    };
    std::vector<Kept> corpus{{{}, 0}};
    static uint8_t seen[sizeof edges];
    uint64_t runs = 0;
    int found = 0;
    for (; timed ? runs % 256 || seconds() < double(most) : runs < most; ++runs) {
        current = changed(corpus, random);
        memset(edges, 0, sizeof edges);
        previous = 0;
        const int64_t weights = run(current);
        bool fresh = false;
        for (size_t i = 0; i < sizeof edges; ++i) {
            if (!edges[i]) continue;
            const uint8_t hits = hits_class(edges[i]);
            if (!seen[i]) ++found;
            if (hits & ~seen[i]) fresh = true, seen[i] |= hits;
        }
        if (fresh) corpus.push_back({current, weights});
    }
    printf("{\"runs\": %llu, \"edges\": %d, \"inputs\": %zu, \"seconds\": %.1f}\n",
           static_cast<unsigned long long>(runs), found, corpus.size(), seconds());
}
