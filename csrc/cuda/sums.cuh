// Sums of many numbers in two stages and one order, and lengths of rows.
#pragma once
#include <cstdint>

#include "../row_length.h"
#include "vector.cuh"

namespace geoguide3d::cuda {
constexpr unsigned kSumBlocks = 256;  // of a kernel that leaves one partial sum per block

// The sum over the block, in thread 0; all its threads must take part.
__device__ inline double block_sum(double value) {
  __shared__ double of_warp[kWarpsPerBlock];
  value = warp_sum(value);
  __syncthreads();  // of_warp may still be read from a sum before
  if (threadIdx.x % kWarp == 0) of_warp[threadIdx.x / kWarp] = value;
  __syncthreads();
  double sum = 0;
  if (threadIdx.x == 0)
    for (const double part : of_warp) sum += part;
  return sum;
}

// The second stage: *value = max(0, sum of partial) / divisor. One block.
template <typename A>
__global__ void write_mean(const double* partial, int64_t count, double divisor, A* value) {
  double sum = 0;
  for (int64_t k = threadIdx.x; k < count; k += blockDim.x) sum += partial[k];
  sum = block_sum(sum);
  if (threadIdx.x == 0) *value = static_cast<A>((sum < 0 ? 0 : sum) / divisor);
}

template <typename A>
__global__ void add_elements(A* sum, const A* added, int64_t count) {
  const int64_t k = thread_number();
  if (k < count) sum[k] += added[k];
}

// The row that this warp takes.
__device__ inline int64_t row_of_warp() {
  return thread_number() / kWarp;
}

// 1 / max(length, kShortestRow) in every lane; NaN where the row holds NaN.
template <typename A, typename T>
__device__ inline A warp_inverse_length(const T* row, int64_t C) {
  A sum = 0;
  for (int64_t c = threadIdx.x % kWarp; c < C; c += kWarp) {
    const A value = static_cast<A>(row[c]);
    sum += value * value;
  }
  const A length = sqrt(warp_sum(sum)), shortest = static_cast<A>(kShortestRow);
  return A{1} / (length < shortest ? shortest : length);
}

// Whether the row was shorter than kShortestRow: then it was divided by a constant.
template <typename A>
__device__ inline bool is_clamped(A inverse) {
  return inverse >= static_cast<A>(1 / kShortestRow);
}
}  // namespace geoguide3d::cuda
