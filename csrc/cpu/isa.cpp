// The chosen instruction set.
#include "isa.h"

static Isa chosen = Isa::baseline;

Isa current_isa() { return chosen; }
void set_isa(Isa isa) { chosen = isa; }
