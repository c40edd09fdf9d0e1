#include "../csr_transpose.h"

#include <torch/csrc/stable/library.h>

#include <tuple>

#include "grouping.cuh"

namespace geoguide3d::cuda {
namespace {

using torch::stable::new_empty;

// In place: the numbers of entries become the owners that have them.
__global__ void find_owners(Csr csr, int64_t* entries) {
  const int64_t e = thread_number();
  if (e < csr.entries) entries[e] = owner_of(csr, entries[e]);
}

__global__ void count_up(int64_t* numbers, int64_t count) {
  const int64_t i = thread_number();
  if (i < count) numbers[i] = i;
}

// What is owned in order: every number once, where there are no ids.
DeviceGrouping entries_by_id(const List& list, int64_t M) {
  if (list.ids) return group_rows(*list.ids, M);
  const DeviceGrouping counted{new_empty(*list.offsets, {M}), new_empty(*list.offsets, {M + 1})};
  for (const Tensor& numbers : {counted.rows, counted.offsets}) {
    const int64_t count = numbers.size(0);
    if (count == 0) continue;
    count_up<<<blocks_for(count), kThreads, 0, current_stream(numbers)>>>(numbers.mutable_data_ptr<int64_t>(), count);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }
  return counted;
}

std::tuple<Tensor, Tensor> csr_transpose(const std::optional<Tensor>& ids, const std::optional<Tensor>& offsets,
                                         int64_t M) {
  STD_TORCH_CHECK(M >= 0, "count must not be negative, got ", M);
  const List list(ids, offsets, M);
  const Tensor& like = list.ids ? *list.ids : *list.offsets;
  const torch::stable::accelerator::DeviceGuard on_device(like.get_device_index());
  const cudaStream_t stream = current_stream(like);
  const DeviceGrouping entries = entries_by_id(list, M);
  if (list.offsets && list.entries > 0) {
    const Csr csr = checked(list, M, stream);
    find_owners<<<blocks_for(csr.entries), kThreads, 0, stream>>>(csr, entries.rows.mutable_data_ptr<int64_t>());
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }
  return {entries.rows, entries.offsets};
}

}  // namespace
}  // namespace geoguide3d::cuda

STABLE_TORCH_LIBRARY_IMPL(geoguide3d, CUDA, m) {
  m.impl("csr_transpose", TORCH_BOX(&geoguide3d::cuda::csr_transpose));
}
