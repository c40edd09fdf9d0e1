#include "../segment_softmax.h"

#include <torch/csrc/stable/library.h>

#include "fold.cuh"

namespace geoguide3d::cuda {
namespace {

using torch::stable::new_empty;

// Thread e * C + c: one score. `powers` (N, C) come in the order of the list.
template <typename T, typename A>
__global__ void raise(Rows<T> scores, Csr csr, const A* maxima, A* powers) {
  const int64_t C = scores.C, thread = thread_number(), e = thread / C, c = thread % C;
  if (e >= csr.entries) return;
  const A maximum = reference_score(maxima[owner_of(csr, e) * C + c]);
  powers[thread] = exp(static_cast<A>(scores[csr.id(e)][c]) - maximum);
}

template <typename A, typename T>
__global__ void divide(const A* powers, const A* sums, Csr csr, T* out, int64_t C) {
  const int64_t thread = thread_number(), e = thread / C, c = thread % C;
  if (e >= csr.entries) return;
  out[csr.id(e) * C + c] = static_cast<T>(powers[thread] / sums[owner_of(csr, e) * C + c]);
}

Tensor segment_softmax(const Tensor& scores, const std::optional<Tensor>& row_ids, const Tensor& offsets,
                       const std::optional<Tensor>&) {
  check_matrix(scores, "scores");
  const int64_t N = scores.size(0), C = scores.size(1);
  const List list(row_ids, offsets, N);
  check_every_row_once(list, N);
  const torch::stable::accelerator::DeviceGuard on_device(scores.get_device_index());
  const cudaStream_t stream = current_stream(scores);
  const Csr csr = checked(list, N, stream), in_order{nullptr, csr.offsets, csr.owners, csr.entries};
  const Tensor x = with_contiguous_rows(scores), out = new_empty(x, {N, C});
  if (N == 0 || C == 0) return out;
  const ScalarType dtype = accumulator_dtype(scores.scalar_type());
  const Tensor powers = new_empty(x, {N, C}, dtype), folded = new_empty(x, {csr.owners, C}, dtype);
  with_floating_dtype(x.scalar_type(), "segment_softmax", [&](auto zero) {
    using T = decltype(zero);
    using A = accumulator_t<T>;
    A *raised = powers.mutable_data_ptr<A>(), *of_segments = folded.mutable_data_ptr<A>();
    const Rows<T> rows = rows_of<T>(x);
    fold_segments(Extremum<A, true>{}, rows, csr, folded, stream);
    raise<<<blocks_for(N * C), kThreads, 0, stream>>>(rows, csr, of_segments, raised);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
    fold_segments(Sum<A>{nullptr}, Rows<A>{raised, C, C}, in_order, folded, stream);
    divide<<<blocks_for(N * C), kThreads, 0, stream>>>(raised, of_segments, csr, out.mutable_data_ptr<T>(), C);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  });
  return out;
}

}  // namespace
}  // namespace geoguide3d::cuda

STABLE_TORCH_LIBRARY_IMPL(geoguide3d, CUDA, m) {
  m.impl("segment_softmax", TORCH_BOX(&geoguide3d::cuda::segment_softmax));
}
