#include "../direction_sums.h"

#include <torch/csrc/stable/library.h>

#include "../segment_reduce.h"
#include "fold.cuh"

namespace geoguide3d::cuda {
namespace {

using torch::stable::new_empty;

// Everywhere one warp per row, which must stay together; `mean` may be null.
template <typename T>
struct Directions {
  using A = accumulator_t<T>;
  Rows<T> values;
  const bool* counts;  // null: all
  const A* mean;       // null: none

  __device__ bool is_counted(int64_t n) const { return !counts || counts[n]; }
  __device__ A mean_at(int64_t c) const { return mean ? mean[c] : A{0}; }

  // The sum of term(c, value of the row) over the columns, in every lane.
  template <typename Term>
  __device__ A sum(int64_t n, const Term& term) const {
    A total = 0;
    for (int64_t c = lane(); c < values.C; c += kWarp) total += term(c, static_cast<A>(values[n][c]));
    return warp_sum(total);
  }

  __device__ Seen<A> look_at(int64_t n) const {
    const Seen<A> seen = seen_without_mean(sqrt(sum(n, [](int64_t, A value) { return value * value; })));
    if (!mean) return seen;
    const A squared = sum(n, [&](int64_t c, A value) {
      const A offset = seen.inverse * value - mean[c];
      return offset * offset;
    });
    return seen_from_mean(seen, sqrt(squared));
  }
};

// What a row is multiplied by in the sum, and what the mean is.
template <typename T, typename A>
__global__ void measure_rows(Directions<T> directions, int64_t N, A* of_row, A* of_mean) {
  const int64_t n = row_of_warp();
  if (n >= N) return;
  const Seen<A> seen = directions.look_at(n);
  if (lane() != 0) return;
  const A counted = directions.is_counted(n) ? 1 : 0;
  of_mean[n] = counted / seen.distance;
  of_row[n] = of_mean[n] * seen.inverse;
}

template <typename A>
__global__ void take_off_mean(A* sums, const A* mass, const A* mean, int64_t S, int64_t C) {
  const int64_t k = thread_number();
  if (k < S * C) sums[k] -= mass[k / C] * mean[k % C];
}

template <typename T, typename A>
__global__ void dot_segments(Directions<T> directions, Rows<A> segments, Csr lists, A* out) {
  const int64_t n = row_of_warp();
  if (n >= lists.owners) return;
  const Seen<A> seen = directions.look_at(n);
  const A* segment = segments[lists.id(n)];
  const A product = directions.sum(
      n, [&](int64_t c, A value) { return (seen.inverse * value - directions.mean_at(c)) * segment[c]; });
  if (lane() == 0) out[n] = product / seen.distance;
}

// `added` may be null.
template <typename T, typename A>
__global__ void write_gradients(Directions<T> directions, Rows<A> grads, Csr lists, Rows<T> added, T* out) {
  const int64_t n = row_of_warp(), C = directions.values.C;
  if (n >= lists.owners) return;
  const A* grad = grads[lists.id(n)];
  Pull<A> by{0, 0, 0};
  if (directions.is_counted(n)) {
    const Seen<A> seen = directions.look_at(n);
    const auto offset = [&](int64_t c, A value) { return seen.inverse * value - directions.mean_at(c); };
    const A along = directions.sum(n, [&](int64_t c, A value) { return grad[c] * offset(c, value); });
    const A turned = directions.sum(n, [&](int64_t c, A value) { return offset(c, value) * seen.inverse * value; });
    const A on_unit = directions.sum(n, [&](int64_t c, A value) { return grad[c] * seen.inverse * value; });
    by = pull_of(seen, along, turned, on_unit);
  }
  for (int64_t c = lane(); c < C; c += kWarp) {
    const A value = static_cast<A>(directions.values[n][c]), more = added.data ? static_cast<A>(added[n][c]) : A{0};
    const A turn = by.scale * (grad[c] - by.by_row * value + by.by_mean * directions.mean_at(c));
    out[n * C + c] = static_cast<T>((by.scale == 0 ? A{0} : turn) + more);
  }
}

Tensor direction_sums(const Tensor& values, const std::optional<Tensor>& counts, const std::optional<Tensor>& mean,
                      const std::optional<Tensor>& row_ids, const Tensor& offsets, const std::optional<Tensor>&) {
  const torch::stable::accelerator::DeviceGuard on_device(values.get_device_index());
  const cudaStream_t stream = current_stream(values);
  const DirectionInputs inputs(values, counts, mean);
  const int64_t N = values.size(0), C = values.size(1);
  const List list(row_ids, offsets, N);
  const Csr csr = checked(list, N, stream);
  const int64_t S = csr.owners;
  const Tensor sums = new_empty(values, {S, C}, accumulator_dtype(inputs.dtype()));
  const Tensor factors = new_empty(sums, {2, N}), mass = new_empty(sums, {S, 1});
  with_floating_dtype(inputs.dtype(), "direction_sums", [&](auto zero) {
    using T = decltype(zero);
    using A = accumulator_t<T>;
    const Directions<T> directions = inputs.as<Directions, T>();
    A *of_row = factors.mutable_data_ptr<A>(), *of_mean = of_row + N;
    if (N > 0) {
      measure_rows<<<blocks_for_rows(N), kThreads, 0, stream>>>(directions, N, of_row, of_mean);
      STD_CUDA_KERNEL_LAUNCH_CHECK();
    }
    fold_segments(Sum<A>{of_row}, directions.values, csr, sums, stream);
    if (!directions.mean || S * C == 0) return;
    fold_segments(Sum<A>{nullptr}, Rows<A>{of_mean, 1, 1}, csr, mass, stream);
    take_off_mean<<<blocks_for(S * C), kThreads, 0, stream>>>(sums.mutable_data_ptr<A>(), mass.const_data_ptr<A>(),
                                                              directions.mean, S, C);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  });
  return sums;
}

Tensor direction_dot(const Tensor& values, const Tensor& segments, const std::optional<Tensor>& mean,
                     const Tensor& index) {
  const torch::stable::accelerator::DeviceGuard on_device(values.get_device_index());
  const cudaStream_t stream = current_stream(values);
  const DirectionInputs inputs(values, std::nullopt, mean);
  check_direction_segments(values, segments, index);
  const int64_t N = values.size(0);
  const List list(index, std::nullopt, 0);
  const Csr lists = checked(list, segments.size(0), stream);
  const Tensor s = with_contiguous_rows(segments), out = new_empty(s, {N});
  if (N == 0) return out;
  with_floating_dtype(inputs.dtype(), "direction_dot", [&](auto zero) {
    using T = decltype(zero);
    using A = accumulator_t<T>;
    dot_segments<<<blocks_for_rows(N), kThreads, 0, stream>>>(inputs.as<Directions, T>(), rows_of<A>(s), lists,
                                                              out.mutable_data_ptr<A>());
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  });
  return out;
}

Tensor direction_sums_backward(const Tensor& values, const std::optional<Tensor>& counts,
                               const std::optional<Tensor>& mean, const Tensor& grad, const Tensor& index,
                               const std::optional<Tensor>& added) {
  const torch::stable::accelerator::DeviceGuard on_device(values.get_device_index());
  const cudaStream_t stream = current_stream(values);
  const DirectionInputs inputs(values, counts, mean);
  check_direction_segments(values, grad, index);
  check_added(values, added);
  const int64_t N = values.size(0), C = values.size(1);
  const List list(index, std::nullopt, 0);
  const Csr lists = checked(list, grad.size(0), stream);
  const Tensor g = with_contiguous_rows(grad), out = new_empty(values, {N, C});
  if (N == 0) return out;
  std::optional<Tensor> more;
  if (added) more = with_contiguous_rows(*added);
  with_floating_dtype(inputs.dtype(), "direction_sums_backward", [&](auto zero) {
    using T = decltype(zero);
    using A = accumulator_t<T>;
    const Rows<T> added_rows = more ? rows_of<T>(*more) : Rows<T>{nullptr, 0, C};
    write_gradients<<<blocks_for_rows(N), kThreads, 0, stream>>>(inputs.as<Directions, T>(), rows_of<A>(g), lists,
                                                                 added_rows, out.mutable_data_ptr<T>());
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  });
  return out;
}
}  // namespace
}  // namespace geoguide3d::cuda

STABLE_TORCH_LIBRARY_IMPL(geoguide3d, CUDA, m) {
  m.impl("direction_sums", TORCH_BOX(&geoguide3d::cuda::direction_sums));
  m.impl("direction_dot", TORCH_BOX(&geoguide3d::cuda::direction_dot));
  m.impl("direction_sums_backward", TORCH_BOX(&geoguide3d::cuda::direction_sums_backward));
}
