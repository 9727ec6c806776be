// CUDA's barriers, shuffles and votes for cuda_shim.h, which includes it: of a whole block or a whole warp.
#pragma once

namespace shim {
// No barrier for memory, on a GPU neither.
template <class Value> SHIM_OWN Value exchange(unsigned mask, Value value, int source, const Site& site) {
    static_assert(sizeof(Value) <= sizeof lanes[0][0]);
    if (mask != ~0u) fail("a shuffle of some lanes only, which is not emulated");
    const unsigned warp = current->thread / 32, lane = current->thread % 32;
    __builtin_memcpy(lanes[warp][lane], &value, sizeof value);
    wait_at(warp_barriers[warp], 32, site);
    __builtin_memcpy(&value, lanes[warp][source], sizeof value);
    wait_at(warp_barriers[warp], 32, site);
    return value;
}
} // namespace shim

SHIM_OWN inline void __syncthreads(shim::Site site = shim::Site::current()) {
    if (shim::skips(site)) return;
    if (shim::wait_at(shim::block_barrier, int(shim::fibers.size()), site)) racecheck::pass_block_barrier();
}
SHIM_OWN inline void __syncwarp(unsigned mask = ~0u, shim::Site site = shim::Site::current()) {
    if (shim::skips(site)) return;
    if (mask != ~0u) shim::fail("a barrier of some lanes only, which is not emulated");
    const unsigned warp = shim::current->thread / 32;
    if (shim::wait_at(shim::warp_barriers[warp], 32, site)) racecheck::pass_warp_barrier(warp);
}

template <class Value> SHIM_OWN Value __shfl_sync(unsigned mask, Value value, int source, int width = 32,
                                                  shim::Site site = shim::Site::current()) {
    return shim::exchange(mask, value, shim::lane() / width * width + source % width, site);
}
template <class Value> SHIM_OWN Value __shfl_xor_sync(unsigned mask, Value value, int flip, int = 32,
                                                      shim::Site site = shim::Site::current()) {
    return shim::exchange(mask, value, shim::lane() ^ flip, site);
}
template <class Value>
SHIM_OWN Value __shfl_up_sync(unsigned mask, Value value, int step, shim::Site site = shim::Site::current()) {
    return shim::exchange(mask, value, shim::lane() < step ? shim::lane() : shim::lane() - step, site);
}
SHIM_OWN inline unsigned __ballot_sync(unsigned mask, bool vote, shim::Site site = shim::Site::current()) {
    if (mask != ~0u) shim::fail("a vote of some lanes only, which is not emulated");
    const unsigned warp = shim::current->thread / 32;
    shim::lanes[warp][shim::lane()][0] = vote;
    shim::wait_at(shim::warp_barriers[warp], 32, site);
    unsigned votes = 0;
    for (int lane = 0; lane < 32; ++lane) votes |= unsigned(shim::lanes[warp][lane][0]) << lane;
    shim::wait_at(shim::warp_barriers[warp], 32, site);
    return votes;
}
