// One fault of each kind that compute-sanitizer looks for: a tool that does not find its own has proven nothing.
//   gpu_planted memcheck|racecheck|synccheck|initcheck

#include <cstdio>
#include <cstring>

constexpr int THREADS = 64;

static __global__ void planted_memcheck_kernel(int* out) { out[THREADS + threadIdx.x] = 1; }

static __global__ void planted_racecheck_kernel(int* out) {
    __shared__ int shared[THREADS];
    shared[threadIdx.x] = int(threadIdx.x);
    out[threadIdx.x] = shared[THREADS - 1 - threadIdx.x]; // of the other warp, without a barrier
}

static __global__ void planted_synccheck_kernel(int* out) {
    if (threadIdx.x < THREADS / 2 + 5) __syncthreads(); // amid a warp
    __syncwarp(1);                                      // by lanes that are not in the mask, too
    out[threadIdx.x] = 1;
}

static __global__ void planted_initcheck_kernel(int* out, const int* never_written) {
    out[threadIdx.x] = never_written[threadIdx.x] + 1;
}

int main(int count, char** names) {
    const char* tool = count == 2 ? names[1] : "";
    int *out = nullptr, *other = nullptr;
    if (cudaMalloc(&out, THREADS * sizeof(int)) != cudaSuccess) return std::puts("no memory of a GPU"), 2;
    if (cudaMalloc(&other, THREADS * sizeof(int)) != cudaSuccess) return std::puts("no memory of a GPU"), 2;
    if (std::strcmp(tool, "memcheck") == 0) planted_memcheck_kernel<<<1, THREADS>>>(out);
    if (std::strcmp(tool, "racecheck") == 0) planted_racecheck_kernel<<<1, THREADS>>>(out);
    if (std::strcmp(tool, "synccheck") == 0) planted_synccheck_kernel<<<1, THREADS>>>(out);
    if (std::strcmp(tool, "initcheck") == 0) planted_initcheck_kernel<<<1, THREADS>>>(out, other);
    std::puts(cudaGetErrorString(cudaDeviceSynchronize()));
    return 0;
}
