// The kernels of packed_linear by tensor cores, for few tokens of float16.
#include "packed_mma.cuh"

template void gpu::few_tokens_mma<gpu::Float16>(const gpu::Packed&, const gpu::Linear<gpu::Float16>&, gpu::Stream);
