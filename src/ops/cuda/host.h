// Lets kernels.cu compile as C++, for tests: threads one after another, arguments as CUDA's driver takes them, a pointer to each.
#include <math.h>
#include <stddef.h>
#include <utility>

#define __global__
#define __device__

static struct { unsigned x; } blockIdx, blockDim, threadIdx;

template <class... Arguments, size_t... Places>
static void each_thread(void (*kernel)(Arguments...), unsigned blocks, void **arguments, std::index_sequence<Places...>) {
    blockDim.x = 256;
    for (blockIdx.x = 0; blockIdx.x < blocks; blockIdx.x++)
        for (threadIdx.x = 0; threadIdx.x < blockDim.x; threadIdx.x++) kernel(*(Arguments *)arguments[Places]...);
}

template <class... Arguments> static void launch(void (*kernel)(Arguments...), unsigned blocks, void **arguments) {
    each_thread(kernel, blocks, arguments, std::index_sequence_for<Arguments...>());
}
