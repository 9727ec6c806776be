// The arguments of the ops on cocktail payloads, as their kernels on the CPU get them.
#pragma once
#include "cocktail.h"

inline constexpr int SLACK_FLOATS = 64; // after the last one of a buffer

// A tensor's numbers; null: there is none.
struct Numbers {
    void* data;
    Number number;
};

struct GradientJob {
    CocktailLayout layout;
    Numbers gradient, residual;
    float scale;
    uint8_t* body; // the payload after its header
};

struct DeltaJob {
    CocktailLayout layout;
    Numbers local, shared;
    uint8_t* body;
};

struct MeanJob {
    CocktailLayout layout;
    const uint8_t* bodies; // the first payload after its header
    int64_t workers;
    Numbers residual;
    uint8_t* body;
};
