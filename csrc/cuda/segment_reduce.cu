#include "../segment_reduce.h"

#include <torch/csrc/stable/library.h>

#include <tuple>

#include "grouping.cuh"
#include "launch.cuh"

namespace geoguide3d {
namespace {

using torch::stable::new_empty;

// Sorted rows are cut into chunks of fixed size. A thread walks the rows of one chunk in one column and writes each
// segment that lies wholly inside. Of a segment that crosses a border it keeps a partial result: in `head` if the
// segment began in an earlier chunk, else in `tail`. finish_segments adds those up in order. No atomics, no waiting.
constexpr int kChunkRows = 128;
constexpr int kRowsAtOnce = 4;  // loads under way before the first is needed

// Sum over the rows of a segment. Column C holds the sum of the weights.
template <typename T>
struct SumReducer {
  using A = accumulator_t<T>;
  using Item = A;
  using State = A;
  const T* values;
  const A* weights;  // may be null
  A *sums, *mass;
  int64_t C;

  __host__ __device__ int64_t columns() const { return C + 1; }
  __device__ Item load(int64_t n, int64_t c) const {
    const A weight = weights ? weights[n] : A{1};
    return c == C ? weight : weight * static_cast<A>(values[n * C + c]);
  }
  __device__ State open(Item item, int64_t) const { return item; }
  __device__ void add(State& state, Item item, int64_t) const { state += item; }
  __device__ void merge(State& state, const State& later) const { state += later; }
  __device__ State empty() const { return A{0}; }
  __device__ void store(int64_t s, int64_t c, const State& state) const {
    (c == C ? mass[s] : sums[s * C + c]) = state;
  }
};

template <typename T>
struct MaxReducer {
  using A = accumulator_t<T>;
  using Item = A;
  struct State {
    A value;
    int64_t row;
  };
  const T* values;
  A* maxima;
  int64_t* rows;
  int64_t N, C;

  __host__ __device__ int64_t columns() const { return C; }
  __device__ Item load(int64_t n, int64_t c) const { return static_cast<A>(values[n * C + c]); }
  __device__ State open(Item item, int64_t n) const { return {item, n}; }
  __device__ void add(State& state, Item item, int64_t n) const { merge(state, {item, n}); }
  __device__ void merge(State& state, const State& later) const {
    const bool later_is_nan = later.value != later.value, state_is_nan = state.value != state.value;
    if (later.value > state.value || (later_is_nan && !state_is_nan)) state = later;
  }
  __device__ State empty() const { return {A{0}, N}; }
  __device__ void store(int64_t s, int64_t c, const State& state) const {
    maxima[s * C + c] = state.value;
    rows[s * C + c] = state.row;
  }
};

struct Order {
  const int64_t *segment_of, *rows, *offsets;
  int64_t N, S;
};

// head and tail are (chunks, columns).
template <typename Reducer>
__global__ void walk_chunks(Reducer reducer, Order order, typename Reducer::State* head,
                            typename Reducer::State* tail) {
  using State = typename Reducer::State;
  const int64_t columns = reducer.columns(), thread = thread_number();
  const int64_t chunk = thread / columns, c = thread % columns;
  const int64_t first = chunk * kChunkRows;
  if (first >= order.N) return;
  const int64_t last = first + kChunkRows < order.N ? first + kChunkRows : order.N;

  State state = reducer.empty();
  int64_t segment = order.segment_of[first];
  bool began_here = first == order.offsets[segment], is_open = false;
  const auto put = [&](bool ends_here) {
    if (!began_here)
      head[chunk * columns + c] = state;
    else if (!ends_here)
      tail[chunk * columns + c] = state;
    else
      reducer.store(segment, c, state);
  };
  for (int64_t p = first; p < last; p += kRowsAtOnce) {
    typename Reducer::Item items[kRowsAtOnce];
#pragma unroll
    for (int k = 0; k < kRowsAtOnce; ++k)
      if (p + k < last) items[k] = reducer.load(order.rows[p + k], c);
#pragma unroll
    for (int k = 0; k < kRowsAtOnce; ++k) {
      if (p + k >= last) break;
      const int64_t n = order.rows[p + k], s = order.segment_of[p + k];
      if (is_open && s == segment) {
        reducer.add(state, items[k], n);
        continue;
      }
      if (is_open) {
        put(true);
        began_here = true;
      }
      segment = s;
      state = reducer.open(items[k], n);
      is_open = true;
    }
  }
  put(last == order.offsets[segment + 1]);
}

// Writes the segments that no thread of walk_chunks has written: empty ones, and those that cross a border.
template <typename Reducer>
__global__ void finish_segments(Reducer reducer, Order order, const typename Reducer::State* head,
                                const typename Reducer::State* tail) {
  const int64_t columns = reducer.columns(), thread = thread_number();
  const int64_t s = thread / columns, c = thread % columns;
  if (s >= order.S) return;
  const int64_t begin = order.offsets[s], end = order.offsets[s + 1];
  if (begin == end) return reducer.store(s, c, reducer.empty());
  const int64_t first_chunk = begin / kChunkRows, last_chunk = (end - 1) / kChunkRows;
  if (first_chunk == last_chunk) return;
  typename Reducer::State state = tail[first_chunk * columns + c];
  for (int64_t chunk = first_chunk + 1; chunk <= last_chunk; ++chunk) reducer.merge(state, head[chunk * columns + c]);
  reducer.store(s, c, state);
}

template <typename Reducer>
void reduce_segments(const Reducer& reducer, const DeviceGrouping& grouping, int64_t S) {
  using State = typename Reducer::State;
  const int64_t N = grouping.rows.size(0), columns = reducer.columns();
  const int64_t chunks = (N + kChunkRows - 1) / kChunkRows;
  if (S == 0 || columns == 0) return;
  const auto bytes = static_cast<int64_t>(sizeof(State));
  const Tensor partial = new_empty(grouping.rows, {2 * chunks * columns * bytes}, ScalarType::Byte);
  State *head = reinterpret_cast<State*>(partial.mutable_data_ptr<uint8_t>()), *tail = head + chunks * columns;
  const Order order{grouping.segment_of.const_data_ptr<int64_t>(), grouping.rows.const_data_ptr<int64_t>(),
                    grouping.offsets.const_data_ptr<int64_t>(), N, S};
  const cudaStream_t stream = current_stream(grouping.rows);
  if (N > 0) {
    walk_chunks<<<blocks_for(chunks * columns), kThreads, 0, stream>>>(reducer, order, head, tail);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }
  finish_segments<<<blocks_for(S * columns), kThreads, 0, stream>>>(reducer, order, head, tail);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
}

// One warp per row in the two kernels below.
__device__ int64_t row_of_warp() {
  return blockIdx.x * static_cast<int64_t>(kWarpsPerBlock) + threadIdx.x / kWarp;
}
unsigned blocks_for_rows(int64_t N) {
  return blocks_for(N * kWarp);
}

template <typename A>
__global__ void expand_segments(const A* segments, const A* weights, const int64_t* index, A* out, int64_t N, int64_t S,
                                int64_t C) {
  const int64_t n = row_of_warp();
  if (n >= N) return;
  const int64_t s = index[n];
  assert(0 <= s && s < S && "index out of range");
  const A weight = weights ? weights[n] : A{1};
  for (int64_t c = threadIdx.x % kWarp; c < C; c += kWarp) out[n * C + c] = weight * segments[s * C + c];
}

template <typename T, typename A>
__global__ void dot_segments(const T* values, const A* segments, const int64_t* index, A* out, int64_t N, int64_t S,
                             int64_t C) {
  const int64_t n = row_of_warp();
  if (n >= N) return;  // the whole warp leaves: it has one n
  const int64_t s = index[n];
  assert(0 <= s && s < S && "index out of range");
  A sum = 0;
  for (int64_t c = threadIdx.x % kWarp; c < C; c += kWarp)
    sum += static_cast<A>(values[n * C + c]) * segments[s * C + c];
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) sum += __shfl_down_sync(0xffffffffu, sum, lanes);
  if (threadIdx.x % kWarp == 0) out[n] = sum;
}

std::tuple<Tensor, Tensor> segment_sum(const Tensor& values, const std::optional<Tensor>& weights, const Tensor& index,
                                       int64_t S) {
  check_rows(values, index);
  check_segment_count(S);
  const int64_t C = values.size(1);
  const ScalarType dtype = accumulator_dtype(values.scalar_type());
  check_weights(weights, values.size(0), dtype);
  const torch::stable::accelerator::DeviceGuard on_device(values.get_device_index());
  const Tensor v = torch::stable::contiguous(values);
  const std::optional<Tensor> w = contiguous(weights);
  const DeviceGrouping grouping = group_rows(torch::stable::contiguous(index), S);
  const Tensor sums = new_empty(v, {S, C}, dtype), mass = new_empty(v, {S}, dtype);
  with_floating_dtype(v.scalar_type(), "segment_sum", [&](auto zero) {
    using T = decltype(zero);
    using A = accumulator_t<T>;
    const SumReducer<T> reducer{v.const_data_ptr<T>(), data_or_null<A>(w), sums.mutable_data_ptr<A>(),
                                mass.mutable_data_ptr<A>(), C};
    reduce_segments(reducer, grouping, S);
  });
  return {sums, mass};
}

std::tuple<Tensor, Tensor> segment_max(const Tensor& values, const Tensor& index, int64_t S) {
  check_rows(values, index);
  check_segment_count(S);
  const int64_t N = values.size(0), C = values.size(1);
  const torch::stable::accelerator::DeviceGuard on_device(values.get_device_index());
  const Tensor v = torch::stable::contiguous(values);
  const DeviceGrouping grouping = group_rows(torch::stable::contiguous(index), S);
  const Tensor maxima = new_empty(v, {S, C}, accumulator_dtype(v.scalar_type()));
  const Tensor rows = new_empty(v, {S, C}, ScalarType::Long);
  with_floating_dtype(v.scalar_type(), "segment_max", [&](auto zero) {
    using T = decltype(zero);
    const MaxReducer<T> reducer{v.const_data_ptr<T>(), maxima.mutable_data_ptr<accumulator_t<T>>(),
                                rows.mutable_data_ptr<int64_t>(), N, C};
    reduce_segments(reducer, grouping, S);
  });
  return {maxima, rows};
}

Tensor segment_expand(const Tensor& segments, const std::optional<Tensor>& weights, const Tensor& index) {
  check_segments(segments, index);
  const int64_t N = index.size(0), C = segments.size(1);
  check_weights(weights, N, segments.scalar_type());
  const torch::stable::accelerator::DeviceGuard on_device(segments.get_device_index());
  const Tensor s = torch::stable::contiguous(segments), i = torch::stable::contiguous(index);
  const std::optional<Tensor> w = contiguous(weights);
  const Tensor out = new_empty(s, {N, C});
  if (N == 0) return out;
  with_accumulator_dtype(s.scalar_type(), "segment_expand", [&](auto zero) {
    using A = decltype(zero);
    expand_segments<<<blocks_for_rows(N), kThreads, 0, current_stream(s)>>>(s.const_data_ptr<A>(), data_or_null<A>(w),
                                                                            i.const_data_ptr<int64_t>(),
                                                                            out.mutable_data_ptr<A>(), N, s.size(0), C);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  });
  return out;
}

Tensor segment_dot(const Tensor& values, const Tensor& segments, const Tensor& index) {
  check_rows(values, index);
  check_segments(segments, index);
  check_same_columns(values, segments);
  const int64_t N = values.size(0), C = values.size(1);
  const torch::stable::accelerator::DeviceGuard on_device(values.get_device_index());
  const Tensor v = torch::stable::contiguous(values), s = torch::stable::contiguous(segments);
  const Tensor i = torch::stable::contiguous(index);
  const Tensor out = new_empty(s, {N});
  if (N == 0) return out;
  with_floating_dtype(v.scalar_type(), "segment_dot", [&](auto zero) {
    using T = decltype(zero);
    using A = accumulator_t<T>;
    dot_segments<<<blocks_for_rows(N), kThreads, 0, current_stream(v)>>>(v.const_data_ptr<T>(), s.const_data_ptr<A>(),
                                                                         i.const_data_ptr<int64_t>(),
                                                                         out.mutable_data_ptr<A>(), N, s.size(0), C);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  });
  return out;
}

}  // namespace
}  // namespace geoguide3d

STABLE_TORCH_LIBRARY_IMPL(geoguide3d, CUDA, m) {
  m.impl("segment_sum", TORCH_BOX(&geoguide3d::segment_sum));
  m.impl("segment_expand", TORCH_BOX(&geoguide3d::segment_expand));
  m.impl("segment_dot", TORCH_BOX(&geoguide3d::segment_dot));
  m.impl("segment_max", TORCH_BOX(&geoguide3d::segment_max));
}
