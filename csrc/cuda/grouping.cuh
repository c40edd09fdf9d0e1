// Rows in the order of their segments, on the device and without waiting for it.
#pragma once
#include <torch/csrc/stable/ops.h>

#include "launch.cuh"

namespace geoguide3d {

// The rows of segment s are rows[offsets[s]] ... rows[offsets[s + 1] - 1], ascending; segment_of[p] belongs to rows[p].
struct DeviceGrouping {
  torch::stable::Tensor segment_of, rows, offsets;
};

// Thread s finds where segment s begins. A search for each, because S may be far greater than N.
static __global__ void find_offsets(const int64_t* segment_of, int64_t* offsets, int64_t N, int64_t S) {
  const int64_t s = thread_number();
  if (s > S) return;
  assert((N == 0 || (0 <= segment_of[0] && segment_of[N - 1] < S)) && "index out of range");
  int64_t begin = 0, end = N;
  while (begin < end) {
    const int64_t middle = (begin + end) / 2;
    if (segment_of[middle] < s)
      begin = middle + 1;
    else
      end = middle;
  }
  offsets[s] = begin;
}

inline DeviceGrouping group_rows(const torch::stable::Tensor& index, int64_t S) {
  const int64_t N = index.size(0);
  const auto [segment_of, rows] = stable_sort(index);
  const torch::stable::Tensor offsets = torch::stable::new_empty(index, {S + 1});
  find_offsets<<<blocks_for(S + 1), kThreads, 0, current_stream(index)>>>(segment_of.const_data_ptr<int64_t>(),
                                                                          offsets.mutable_data_ptr<int64_t>(), N, S);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return {segment_of, rows, offsets};
}
}  // namespace geoguide3d
