// See tensor.h: nothing is registered.
#pragma once
#define TORCH_BOX(function) function
#define STABLE_TORCH_LIBRARY_IMPL(space, key, m) template <class Library> static void registered_##space(Library& m)
