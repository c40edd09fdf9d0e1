#include "../kernel_map.h"

#include <torch/csrc/stable/library.h>

#include <array>
#include <tuple>

#include "grouping.cuh"
#include "launch.cuh"
#include "scan.cuh"

namespace geoguide3d::cuda {
namespace {

using torch::stable::new_empty;

constexpr int64_t kNone = std::numeric_limits<int64_t>::max();  // no key, and no row

using Atomic = long long;  // the 64-bit integer that atomics take
static_assert(sizeof(Atomic) == sizeof(int64_t));

__device__ void keep_least(int64_t* least, int64_t value) {
  atomicMin(reinterpret_cast<Atomic*>(least), static_cast<Atomic>(value));
}

template <typename T>
__global__ void fill(T* values, int64_t count, T value) {
  const int64_t i = thread_number();
  if (i < count) values[i] = value;
}

template <typename T>
void fill(T* values, int64_t count, T value, cudaStream_t stream) {
  if (count == 0) return;
  fill<<<blocks_for(count), kThreads, 0, stream>>>(values, count, value);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
}

// The least of the values and of their negations less 1, whose order is the opposite one.
struct Extremes {
  int64_t low[4], low_of_opposite[4];
};

__global__ void find_extremes(const int64_t* cells, int64_t M, Extremes* extremes) {
  const int64_t m = thread_number();
  for (int axis = 0; axis < 4; ++axis) {  // threads past the end take part, with what changes nothing
    int64_t low = m < M ? cells[4 * m + axis] : kNone, opposite = m < M ? ~cells[4 * m + axis] : kNone;
    for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) {
      low = min(low, __shfl_xor_sync(0xffffffffu, low, lanes));
      opposite = min(opposite, __shfl_xor_sync(0xffffffffu, opposite, lanes));
    }
    if (threadIdx.x % kWarp != 0) continue;
    keep_least(extremes->low + axis, low);
    keep_least(extremes->low_of_opposite + axis, opposite);
  }
}

// Waits for the device.
Corners corners_of(const Tensor& cells, cudaStream_t stream) {
  const Tensor values = new_empty(cells, {8});
  int64_t* least = values.mutable_data_ptr<int64_t>();
  fill(least, 8, kNone, stream);
  find_extremes<<<blocks_for(cells.size(0)), kThreads, 0, stream>>>(cells.const_data_ptr<int64_t>(), cells.size(0),
                                                                    reinterpret_cast<Extremes*>(least));
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  const auto extremes = read_from_device(reinterpret_cast<const Extremes*>(least), stream);
  Corners corners;
  for (int axis = 0; axis < 4; ++axis) {
    corners.low.at[axis] = extremes.low[axis];
    corners.high.at[axis] = ~extremes.low_of_opposite[axis];
  }
  return corners;
}

// Throws where a kernel left the row of a cell that occurs twice. Waits for the device.
void check_once(const Tensor& row_twice, const Tensor& cells, cudaStream_t stream) {
  const int64_t row = read_from_device(row_twice.const_data_ptr<int64_t>(), stream);
  if (row == kNone) return;
  const auto* rows = reinterpret_cast<const Cell*>(cells.const_data_ptr<int64_t>());
  geoguide3d::check_once(false, read_from_device(rows + row, stream).at);
}

__global__ void find_keys(const int64_t* cells, int64_t M, Box box, int64_t* keys) {
  const int64_t m = thread_number();
  if (m < M) keys[m] = box.key({{cells[4 * m], cells[4 * m + 1], cells[4 * m + 2], cells[4 * m + 3]}});
}

// The taps of a submanifold map, by lines along z: what a line reads are consecutive keys.
struct Lines {
  const int64_t *sorted, *rows;  // keys and the rows that they come from
  int64_t M, kernel_size, step_x, step_y;
  int32_t* table;  // (kernel_size^3, M)
  int64_t* row_twice;
};

// A thread takes a cell and a line. Half of the taps are looked up; what reads a cell by one tap is read by it through
// the opposite one. The line of the centre ends before it; its thread writes that tap, too.
__global__ void find_neighbours(Lines lines) {
  const int64_t i = thread_number(), M = lines.M, k = lines.kernel_size, size = k * k * k, centre = size / 2;
  if (i >= M) return;
  const int64_t tap = blockIdx.y * k, reach = k / 2, x = blockIdx.y / k - reach, y = blockIdx.y % k - reach;
  const int64_t taps = min(k, centre - tap), own = lines.sorted[i];
  const int32_t row = static_cast<int32_t>(lines.rows[i]);
  if (tap + taps == centre) {
    lines.table[centre * M + row] = row;
    if (i > 0 && lines.sorted[i - 1] == own) keep_least(lines.row_twice, row);
  }
  const int64_t key = own + x * lines.step_x + y * lines.step_y - reach;  // of the first tap, below its own
  for (int64_t o = search(lines.sorted, 0, i, key, false); o < i && lines.sorted[o] < key + taps; ++o) {
    const int64_t t = tap + lines.sorted[o] - key;
    const int32_t other = static_cast<int32_t>(lines.rows[o]);
    lines.table[t * M + row] = other;
    lines.table[(size - 1 - t) * M + other] = row;
  }
}

Tensor submanifold_map(const Tensor& cells, int64_t kernel_size) {
  check_cells(cells);
  check_kernel_size(kernel_size);
  const torch::stable::accelerator::DeviceGuard on_device(cells.get_device_index());
  const Tensor c = torch::stable::contiguous(cells);
  const int64_t M = c.size(0), size = kernel_size * kernel_size * kernel_size;
  const Tensor neighbours = new_empty(c, {size, M}, ScalarType::Int);
  if (M == 0) return neighbours;
  const cudaStream_t stream = current_stream(c);
  const Box box(corners_of(c, stream), kernel_size / 2);
  const Tensor keys = new_empty(c, {M}), row_twice = new_empty(c, {1});
  find_keys<<<blocks_for(M), kThreads, 0, stream>>>(c.const_data_ptr<int64_t>(), M, box,
                                                    keys.mutable_data_ptr<int64_t>());
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  const auto [sorted, rows] = stable_sort(keys);
  fill(neighbours.mutable_data_ptr<int32_t>(), size * M, -1, stream);
  fill(row_twice.mutable_data_ptr<int64_t>(), 1, kNone, stream);
  const dim3 blocks(blocks_for(M), static_cast<unsigned>((kernel_size * kernel_size + 1) / 2));
  find_neighbours<<<blocks, kThreads, 0, stream>>>(
      {sorted.const_data_ptr<int64_t>(), rows.const_data_ptr<int64_t>(), M, kernel_size, box.step[1], box.step[2],
       neighbours.mutable_data_ptr<int32_t>(), row_twice.mutable_data_ptr<int64_t>()});
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  check_once(row_twice, c, stream);
  return neighbours;
}

// Keys of the outputs that read cell m, and by which taps, at places m * most ... of both; kNone where there are fewer.
__global__ void find_meetings(const int64_t* cells, int64_t M, Window window, Box box, int64_t* keys, int32_t* taps) {
  const int64_t m = thread_number(), most = window.most();
  if (m >= M) return;
  int64_t place = m * most;
  window.for_outputs(cells + 4 * m, [&](const Cell& output, int64_t tap) {
    keys[place] = box.key(output);
    taps[place++] = static_cast<int32_t>(tap);
  });
  for (; place < (m + 1) * most; ++place) keys[place] = kNone;
}

// is_new[i] = 1 where a key differs from the one before it, else 0.
__global__ void mark_outputs(const int64_t* sorted, int64_t count, int64_t* is_new) {
  const int64_t i = thread_number();
  if (i < count) is_new[i] = sorted[i] != kNone && (i == 0 || sorted[i] != sorted[i - 1]);
}

// Meetings in the order of outputs, and what they are written to.
struct Meetings {
  const int64_t *sorted, *places, *outputs;  // key, place in `taps`, number of outputs up to and with this one
  const int32_t* taps;
  int64_t count, most, M, P;
  Cell* coarse;
  int32_t *children, *parents;
  int64_t* row_twice;
};

__global__ void write_meetings(Meetings meetings, Box box) {
  const int64_t i = thread_number();
  if (i >= meetings.count || meetings.sorted[i] == kNone) return;
  const int64_t place = meetings.places[i], m = place / meetings.most, p = meetings.outputs[i] - 1;
  const int64_t tap = meetings.taps[place];
  if (i == 0 || meetings.sorted[i - 1] != meetings.sorted[i]) meetings.coarse[p] = box.cell(meetings.sorted[i]);
  const int32_t before = atomicExch(meetings.children + tap * meetings.P + p, static_cast<int32_t>(m));
  if (before >= 0) keep_least(meetings.row_twice, m);
  meetings.parents[tap * meetings.M + m] = static_cast<int32_t>(p);
}

std::tuple<Tensor, Tensor, Tensor> strided_map(const Tensor& cells, int64_t kernel_size, int64_t stride,
                                               int64_t padding) {
  check_cells(cells);
  const Window window{kernel_size, stride, padding};
  window.check();
  const torch::stable::accelerator::DeviceGuard on_device(cells.get_device_index());
  const Tensor c = torch::stable::contiguous(cells);
  const int64_t M = c.size(0), K = window.taps(), count = M * window.most();
  const Tensor parents = new_empty(c, {K, M}, ScalarType::Int);
  if (M == 0) return {new_empty(c, {0, 4}), new_empty(c, {K, 0}, ScalarType::Int), parents};
  const cudaStream_t stream = current_stream(c);
  const Box box(window.outputs(corners_of(c, stream)));
  const Tensor keys = new_empty(c, {count}), taps = new_empty(c, {count}, ScalarType::Int),
               is_new = new_empty(c, {count}), row_twice = new_empty(c, {1});
  find_meetings<<<blocks_for(M), kThreads, 0, stream>>>(
      c.const_data_ptr<int64_t>(), M, window, box, keys.mutable_data_ptr<int64_t>(), taps.mutable_data_ptr<int32_t>());
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  const auto [sorted, places] = stable_sort(keys);
  mark_outputs<<<blocks_for(count), kThreads, 0, stream>>>(sorted.const_data_ptr<int64_t>(), count,
                                                           is_new.mutable_data_ptr<int64_t>());
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  const Tensor outputs = running_sums(is_new);
  const int64_t P = read_from_device(outputs.const_data_ptr<int64_t>() + count - 1, stream);
  check_outputs(P);
  const Tensor coarse = new_empty(c, {P, 4}), children = new_empty(c, {K, P}, ScalarType::Int);
  fill(children.mutable_data_ptr<int32_t>(), K * P, -1, stream);
  fill(parents.mutable_data_ptr<int32_t>(), K * M, -1, stream);
  fill(row_twice.mutable_data_ptr<int64_t>(), 1, kNone, stream);
  const Meetings meetings{sorted.const_data_ptr<int64_t>(),
                          places.const_data_ptr<int64_t>(),
                          outputs.const_data_ptr<int64_t>(),
                          taps.const_data_ptr<int32_t>(),
                          count,
                          window.most(),
                          M,
                          P,
                          reinterpret_cast<Cell*>(coarse.mutable_data_ptr<int64_t>()),
                          children.mutable_data_ptr<int32_t>(),
                          parents.mutable_data_ptr<int32_t>(),
                          row_twice.mutable_data_ptr<int64_t>()};
  write_meetings<<<blocks_for(count), kThreads, 0, stream>>>(meetings, box);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  check_once(row_twice, c, stream);
  return {coarse, children, parents};
}

}  // namespace
}  // namespace geoguide3d::cuda

STABLE_TORCH_LIBRARY_IMPL(geoguide3d, CUDA, m) {
  m.impl("submanifold_map", TORCH_BOX(&geoguide3d::cuda::submanifold_map));
  m.impl("strided_map", TORCH_BOX(&geoguide3d::cuda::strided_map));
}
