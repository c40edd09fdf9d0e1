// Lists of rows per segment on the device, checked and made from ids without waiting for it.
#pragma once
#include <algorithm>
#include <limits>

#include "../csr_transpose.h"
#include "launch.cuh"

namespace geoguide3d::cuda {

static __global__ void assert_list(Csr csr, int64_t limit) {
  const int64_t i = thread_number();
  if (csr.offsets && i < csr.owners) assert(csr.offsets[i] <= csr.offsets[i + 1] && "offsets fall");
  if (csr.offsets && i == 0) assert(csr.offsets[0] == 0 && "offsets do not start with 0");
  if (csr.offsets && i == 0) assert(csr.offsets[csr.owners] == csr.entries && "offsets do not end with the entries");
  if (csr.ids && i < csr.entries) assert(0 <= csr.ids[i] && csr.ids[i] < limit && "index out of range");
}

// The list, after a device-side check of what it holds; `list` must outlive what is returned.
inline Csr checked(const List& list, int64_t limit, cudaStream_t stream) {
  const Csr csr = list.csr();
  const int64_t threads = std::max<int64_t>({csr.offsets ? csr.owners : 0, csr.ids ? csr.entries : 0, 1});
  assert_list<<<blocks_for(threads), kThreads, 0, stream>>>(csr, limit);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return csr;
}

// The first position in sorted[begin ... end - 1] with a value above (or, unless `above`, not below) x; else end.
template <typename Key>
__device__ inline int64_t search(const Key* sorted, int64_t begin, int64_t end, int64_t x, bool above) {
  while (begin < end) {
    const int64_t middle = begin + (end - begin) / 2;
    const bool before = above ? sorted[middle] <= x : sorted[middle] < x;
    begin = before ? middle + 1 : begin;
    end = before ? end : middle;
  }
  return begin;
}

// The owner, not before `from`, that has entry e.
__device__ inline int64_t owner_of(const Csr& csr, int64_t e, int64_t from = 0) {
  return csr.offsets ? search(csr.offsets, from, csr.owners + 1, e, true) - 1 : e;
}

// Ids in the narrowest type that holds them, because a radix sort takes one pass per byte.
template <typename Key>
static __global__ void narrow_ids(const int64_t* ids, Key* keys, int64_t N, int64_t S) {
  const int64_t n = thread_number();
  if (n >= N) return;
  assert(0 <= ids[n] && ids[n] < S && "index out of range");
  keys[n] = static_cast<Key>(ids[n]);
}

// Thread s finds where segment s begins. A search for each, because S may be far greater than N.
template <typename Key>
static __global__ void find_offsets(const Key* sorted, int64_t* offsets, int64_t N, int64_t S) {
  const int64_t s = thread_number();
  if (s <= S) offsets[s] = search(sorted, 0, N, s, false);
}

// The rows of segment s are rows[offsets[s]] ... rows[offsets[s + 1] - 1], ascending.
struct DeviceGrouping {
  Tensor rows, offsets;
};

template <typename Key>
DeviceGrouping group_rows_by(const Tensor& index, int64_t S, ScalarType key_type) {
  const int64_t N = index.size(0);
  const cudaStream_t stream = current_stream(index);
  const Tensor keys = torch::stable::new_empty(index, {N}, key_type);
  const Tensor offsets = torch::stable::new_empty(index, {S + 1});
  if (N > 0) {
    narrow_ids<<<blocks_for(N), kThreads, 0, stream>>>(index.const_data_ptr<int64_t>(), keys.mutable_data_ptr<Key>(), N,
                                                       S);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }
  const auto [sorted, rows] = stable_sort(keys);
  find_offsets<<<blocks_for(S + 1), kThreads, 0, stream>>>(sorted.template const_data_ptr<Key>(),
                                                           offsets.mutable_data_ptr<int64_t>(), N, S);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return {rows, offsets};
}

// index is contiguous (N,) int64; an id outside [0, S) ends in a device-side assertion.
inline DeviceGrouping group_rows(const Tensor& index, int64_t S) {
  if (S <= std::numeric_limits<int16_t>::max()) return group_rows_by<int16_t>(index, S, ScalarType::Short);
  if (S <= std::numeric_limits<int32_t>::max()) return group_rows_by<int32_t>(index, S, ScalarType::Int);
  return group_rows_by<int64_t>(index, S, ScalarType::Long);
}
}  // namespace geoguide3d::cuda
