#include "../segment_reduce.h"

#include <torch/csrc/stable/library.h>

#include <tuple>

#include "fold.cuh"

namespace geoguide3d::cuda {
namespace {

using torch::stable::new_empty;

template <typename A>
__global__ void count_rows(Csr csr, A* mass) {
  const int64_t s = thread_number();
  if (s < csr.owners) mass[s] = static_cast<A>(csr.end(s) - csr.begin(s));
}

// Sums of weights, or numbers of rows where there are none.
template <typename A>
void sum_weights(const std::optional<Tensor>& weights, const Csr& csr, const Tensor& mass, cudaStream_t stream) {
  if (weights) return fold_segments(Sum<A>{nullptr}, Rows<A>{weights->const_data_ptr<A>(), 1, 1}, csr, mass, stream);
  if (csr.owners == 0) return;
  count_rows<<<blocks_for(csr.owners), kThreads, 0, stream>>>(csr, mass.mutable_data_ptr<A>());
  STD_CUDA_KERNEL_LAUNCH_CHECK();
}

// The next three: one warp per row, each lane with kCount neighbouring columns; `lists` holds the segments of each row.

template <int kCount, typename A>
__device__ void add_pack(A (&sum)[kCount], const A* row) {
  const Pack<A, kCount> pack = load_pack<kCount>(row);
  for (int i = 0; i < kCount; ++i) sum[i] += pack.values[i];
}

template <int kCount, typename A, typename T>
__global__ void expand_segments(Rows<A> segments, const A* weights, Csr lists, T* out) {
  const int64_t n = row_of_warp();
  if (n >= lists.owners) return;
  const int64_t begin = lists.begin(n), end = lists.end(n);
  const A weight = weights ? weights[n] : A{1};
  for (int64_t c = lane() * kCount; c < segments.C; c += kWarp * kCount) {
    A sum[kCount] = {};
    for (int64_t e = begin; e < end; ++e) add_pack(sum, segments[lists.id(e)] + c);
    Pack<T, kCount> row;
    for (int i = 0; i < kCount; ++i) row.values[i] = static_cast<T>(weight * sum[i]);
    store_pack(out + n * segments.C + c, row);
  }
}

template <int kCount, typename T, typename A>
__global__ void dot_segments(Rows<T> values, Rows<A> segments, Csr lists, A* out) {
  const int64_t n = row_of_warp();
  if (n >= lists.owners) return;  // the whole warp leaves: it has one n
  const int64_t begin = lists.begin(n), end = lists.end(n);
  A product = 0;
  for (int64_t c = lane() * kCount; c < values.C; c += kWarp * kCount) {
    A sum[kCount] = {};
    for (int64_t e = begin; e < end; ++e) add_pack(sum, segments[lists.id(e)] + c);
    const Pack<T, kCount> row = load_pack<kCount>(values[n] + c);
    for (int i = 0; i < kCount; ++i) product += static_cast<A>(row.values[i]) * sum[i];
  }
  product = warp_sum(product);
  if (lane() == 0) out[n] = product;
}

std::tuple<Tensor, Tensor> segment_sum(const Tensor& values, const std::optional<Tensor>& weights,
                                       const std::optional<Tensor>& row_ids, const Tensor& offsets,
                                       const std::optional<Tensor>&) {
  check_matrix(values, "values");
  const int64_t N = values.size(0), C = values.size(1);
  const ScalarType dtype = accumulator_dtype(values.scalar_type());
  check_weights(weights, N, dtype);
  const List list(row_ids, offsets, N);
  const torch::stable::accelerator::DeviceGuard on_device(values.get_device_index());
  const cudaStream_t stream = current_stream(values);
  const Csr csr = checked(list, N, stream);
  const Tensor v = with_contiguous_rows(values);
  const std::optional<Tensor> w = contiguous(weights);
  const Tensor sums = new_empty(v, {csr.owners, C}, dtype), mass = new_empty(v, {csr.owners}, dtype);
  with_floating_dtype(v.scalar_type(), "segment_sum", [&](auto zero) {
    using T = decltype(zero);
    using A = accumulator_t<T>;
    fold_segments(Sum<A>{data_or_null<A>(w)}, rows_of<T>(v), csr, sums, stream);
    sum_weights<A>(w, csr, mass, stream);
  });
  return {sums, mass};
}

Tensor segment_expand(const Tensor& segments, const std::optional<Tensor>& weights, const Tensor& segment_ids,
                      const std::optional<Tensor>& row_offsets, ScalarType dtype) {
  check_matrix(segments, "segments");
  const List list(segment_ids, row_offsets, 0);
  const int64_t N = list.owners, C = segments.size(1);
  check_weights(weights, N, segments.scalar_type());
  check_sum_type(segments, dtype);
  const torch::stable::accelerator::DeviceGuard on_device(segments.get_device_index());
  const cudaStream_t stream = current_stream(segments);
  const Csr lists = checked(list, segments.size(0), stream);
  const Tensor s = with_contiguous_rows(segments);
  const std::optional<Tensor> w = contiguous(weights);
  const Tensor out = new_empty(s, {N, C}, dtype);
  if (N == 0) return out;
  with_floating_dtype(dtype, "segment_expand", [&](auto zero) {
    using T = decltype(zero);
    using A = accumulator_t<T>;
    constexpr int kCount = Pack<T>::kCount;
    const Rows<A> rows = rows_of<A>(s);
    T* const all = out.mutable_data_ptr<T>();
    const unsigned blocks = blocks_for_rows(N);
    if (fits_packs<A, kCount>(rows.data, rows.stride) && fits_packs(all, C))
      expand_segments<kCount><<<blocks, kThreads, 0, stream>>>(rows, data_or_null<A>(w), lists, all);
    else
      expand_segments<1><<<blocks, kThreads, 0, stream>>>(rows, data_or_null<A>(w), lists, all);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  });
  return out;
}

Tensor segment_dot(const Tensor& values, const Tensor& segments, const Tensor& segment_ids,
                   const std::optional<Tensor>& row_offsets) {
  check_matrix(values, "values");
  check_matrix(segments, "segments");
  check_sum_type(segments, values.scalar_type());
  check_same_columns(values, segments);
  const int64_t N = values.size(0), C = values.size(1);
  const List list(segment_ids, row_offsets, 0);
  check_owners(list, N);
  const torch::stable::accelerator::DeviceGuard on_device(values.get_device_index());
  const cudaStream_t stream = current_stream(values);
  const Csr lists = checked(list, segments.size(0), stream);
  const Tensor v = with_contiguous_rows(values), s = with_contiguous_rows(segments), out = new_empty(s, {N});
  if (N == 0) return out;
  with_floating_dtype(v.scalar_type(), "segment_dot", [&](auto zero) {
    using T = decltype(zero);
    using A = accumulator_t<T>;
    constexpr int kCount = Pack<T>::kCount;
    const Rows<T> rows = rows_of<T>(v);
    const Rows<A> others = rows_of<A>(s);
    A* const all = out.mutable_data_ptr<A>();
    const unsigned blocks = blocks_for_rows(N);
    if (fits_packs(rows.data, rows.stride) && fits_packs<A, kCount>(others.data, others.stride) && C % kCount == 0)
      dot_segments<kCount><<<blocks, kThreads, 0, stream>>>(rows, others, lists, all);
    else
      dot_segments<1><<<blocks, kThreads, 0, stream>>>(rows, others, lists, all);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  });
  return out;
}

}  // namespace
}  // namespace geoguide3d::cuda

STABLE_TORCH_LIBRARY_IMPL(geoguide3d, CUDA, m) {
  m.impl("segment_sum", TORCH_BOX(&geoguide3d::cuda::segment_sum));
  m.impl("segment_expand", TORCH_BOX(&geoguide3d::cuda::segment_expand));
  m.impl("segment_dot", TORCH_BOX(&geoguide3d::cuda::segment_dot));
}
