#include "../segment_extremum.h"

#include <torch/csrc/stable/library.h>

#include "fold.cuh"

namespace geoguide3d::cuda {
namespace {

using torch::stable::new_empty;

// The first entry of a segment whose value is the extremum, and then its row.
template <typename A>
struct FirstEntry {
  using State = int64_t;
  const A* extrema;
  Csr csr;
  int64_t N;  // the row that is written where there is none
  __device__ int64_t start() const { return csr.entries; }
  __device__ int64_t empty() const { return N; }
  __device__ int64_t factor(int64_t, int64_t e) const { return e; }
  __device__ int64_t fold(int64_t state, A value, int64_t e, int64_t at) const {
    const bool holds_it = value == extrema[at] || value != value;
    return holds_it && e < state ? e : state;
  }
  __device__ int64_t merge(int64_t state, int64_t later) const { return later < state ? later : state; }
  __device__ int64_t result(int64_t state) const { return state < csr.entries ? csr.id(state) : N; }
};

// One warp per row; `lists` holds the segments of each row.
template <typename A, typename T>
__global__ void place_segments(Rows<A> segments, const int64_t* rows, Csr lists, T* out) {
  const int64_t n = row_of_warp(), C = segments.C;
  if (n >= lists.owners) return;
  for (int64_t c = lane(); c < C; c += kWarp) {
    A sum = 0;
    for (int64_t e = lists.begin(n), last = -1; e < lists.end(n); ++e) {
      const int64_t s = lists.id(e);
      if (s != last && rows[s * C + c] == n) sum += segments[s][c];  // the row may be twice in a segment
      last = s;
    }
    out[n * C + c] = static_cast<T>(sum);
  }
}

Tensor segment_extremum(const Tensor& values, const std::optional<Tensor>& row_ids, const Tensor& offsets, bool largest,
                        const std::optional<Tensor>&) {
  check_matrix(values, "values");
  const List list(row_ids, offsets, values.size(0));
  const torch::stable::accelerator::DeviceGuard on_device(values.get_device_index());
  const cudaStream_t stream = current_stream(values);
  const Csr csr = checked(list, values.size(0), stream);
  const Tensor v = with_contiguous_rows(values);
  const Tensor out = new_empty(v, {csr.owners, v.size(1)}, accumulator_dtype(v.scalar_type()));
  with_floating_dtype(v.scalar_type(), "segment_extremum", [&](auto zero) {
    using T = decltype(zero);
    using A = accumulator_t<T>;
    if (largest)
      fold_segments(Extremum<A, true>{}, rows_of<T>(v), csr, out, stream);
    else
      fold_segments(Extremum<A, false>{}, rows_of<T>(v), csr, out, stream);
  });
  return out;
}

Tensor segment_first(const Tensor& values, const Tensor& extrema, const std::optional<Tensor>& row_ids,
                     const Tensor& offsets) {
  check_matrix(values, "values");
  const int64_t N = values.size(0);
  const List list(row_ids, offsets, N);
  check_extrema(extrema, values, list.owners);
  const torch::stable::accelerator::DeviceGuard on_device(values.get_device_index());
  const cudaStream_t stream = current_stream(values);
  const Csr csr = checked(list, N, stream);
  const Tensor v = with_contiguous_rows(values), x = torch::stable::contiguous(extrema);
  const Tensor rows = new_empty(v, {csr.owners, v.size(1)}, ScalarType::Long);
  with_floating_dtype(v.scalar_type(), "segment_first", [&](auto zero) {
    using T = decltype(zero);
    using A = accumulator_t<T>;
    fold_segments(FirstEntry<A>{x.const_data_ptr<A>(), csr, N}, rows_of<T>(v), csr, rows, stream);
  });
  return rows;
}

Tensor segment_place(const Tensor& segments, const Tensor& rows, const Tensor& segment_ids,
                     const std::optional<Tensor>& row_offsets, ScalarType dtype) {
  check_matrix(segments, "segments");
  check_placed(segments, rows, dtype);
  const List list(segment_ids, row_offsets, 0);
  const torch::stable::accelerator::DeviceGuard on_device(segments.get_device_index());
  const cudaStream_t stream = current_stream(segments);
  const Csr lists = checked(list, segments.size(0), stream);
  const Tensor s = with_contiguous_rows(segments), r = torch::stable::contiguous(rows);
  const Tensor out = new_empty(s, {lists.owners, segments.size(1)}, dtype);
  if (lists.owners == 0) return out;
  with_floating_dtype(dtype, "segment_place", [&](auto zero) {
    using T = decltype(zero);
    using A = accumulator_t<T>;
    place_segments<<<blocks_for_rows(lists.owners), kThreads, 0, stream>>>(rows_of<A>(s), r.const_data_ptr<int64_t>(),
                                                                           lists, out.mutable_data_ptr<T>());
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  });
  return out;
}

}  // namespace
}  // namespace geoguide3d::cuda

STABLE_TORCH_LIBRARY_IMPL(geoguide3d, CUDA, m) {
  m.impl("segment_extremum", TORCH_BOX(&geoguide3d::cuda::segment_extremum));
  m.impl("segment_first", TORCH_BOX(&geoguide3d::cuda::segment_first));
  m.impl("segment_place", TORCH_BOX(&geoguide3d::cuda::segment_place));
}
