#include "../voxel_hash.h"

#include <torch/csrc/stable/library.h>

#include <tuple>

#include "launch.cuh"
#include "ordered.cuh"
#include "scan.cuh"

namespace geoguide3d::cuda {
namespace {

using torch::stable::new_empty;

// Ordered bits of the least and the greatest coordinate of each axis.
template <typename T>
struct Bounds {
  ordered_t<T> low[3], high[3];

  __device__ double least_cell(int axis, double voxel_size) const {
    return floor(static_cast<double>(from_ordered<T>(low[axis])) / voxel_size);
  }
  // NaN or infinite where a coordinate is.
  __device__ double extent(int axis, double voxel_size) const {
    return floor(static_cast<double>(from_ordered<T>(high[axis])) / voxel_size) - least_cell(axis, voxel_size) + 1;
  }
};

template <typename T>
__global__ void start_bounds(Bounds<T>* bounds) {
  for (int axis = 0; axis < 3; ++axis) {
    bounds->low[axis] = kAboveAll<T>;
    bounds->high[axis] = 0;
  }
}

// NaN has ordered bits too: above infinity or below minus infinity, so it shows in the bounds.
template <typename T>
__global__ void find_bounds(const T* points, int64_t N, Bounds<T>* bounds) {
  const int64_t n = thread_number();
  for (int axis = 0; axis < 3; ++axis) {  // threads past the end take part, with what changes nothing
    const ordered_t<T> value = n < N ? to_ordered(points[3 * n + axis]) : 0;
    const ordered_t<T> low = least_of_lanes(n < N ? value : kAboveAll<T>, kWarp);
    const ordered_t<T> high = greatest_of_lanes(value, kWarp);
    if (threadIdx.x % kWarp != 0) continue;
    atomicMin(&bounds->low[axis], low);
    atomicMax(&bounds->high[axis], high);
  }
}

// keys[n] = x above y above z of point n's cell, all 0 where the cells do not fit.
template <typename T>
__global__ void pack_keys(const T* points, int64_t N, double voxel_size, const Bounds<T>* bounds, int64_t* keys) {
  const int64_t n = thread_number();
  if (n >= N) return;
  int64_t key = 0;
  for (int axis = 0; axis < 3; ++axis) {
    const bool fits = bounds->extent(axis, voxel_size) <= kMostCells;
    const double cell =
        floor(static_cast<double>(points[3 * n + axis]) / voxel_size) - bounds->least_cell(axis, voxel_size);
    key = key << kBitsPerAxis | (fits ? static_cast<int64_t>(cell) : 0);
  }
  keys[n] = key;
}

// is_new[p] = 1 where a key differs from the one before it, else 0.
__global__ void mark_new_keys(const int64_t* sorted, int64_t N, int64_t* is_new) {
  const int64_t p = thread_number();
  if (p < N) is_new[p] = p == 0 || sorted[p] != sorted[p - 1];
}

// What the host waits for: the number of voxels, and the extent of the grid in cells.
struct Summary {
  int64_t voxels;
  double extents[3];
};

template <typename T>
__global__ void summarize(const int64_t* last_count, const Bounds<T>* bounds, double voxel_size, Summary* summary) {
  summary->voxels = *last_count;
  for (int axis = 0; axis < 3; ++axis) summary->extents[axis] = bounds->extent(axis, voxel_size);
}

struct Grid {
  int64_t *cells, *point_of_voxel, *voxel_of_point;
};

// voxels[p] is the number of new keys up to and with position p.
__global__ void write_grid(const int64_t* sorted, const int64_t* rows, const int64_t* voxels, int64_t N, Grid grid) {
  const int64_t p = thread_number();
  if (p >= N) return;
  const int64_t voxel = voxels[p] - 1, key = sorted[p], mask = (int64_t{1} << kBitsPerAxis) - 1;
  grid.voxel_of_point[rows[p]] = voxel;
  if (p > 0 && sorted[p - 1] == key) return;
  grid.point_of_voxel[voxel] = rows[p];  // the sort is stable: the first of its rows
  for (int axis = 0; axis < 3; ++axis) grid.cells[3 * voxel + axis] = key >> (2 - axis) * kBitsPerAxis & mask;
}

template <typename T>
Tensor room_for(const Tensor& like) {
  return new_empty(like, {static_cast<int64_t>(sizeof(T))}, ScalarType::Byte);
}

template <typename T>
T* data_as(const Tensor& bytes) {
  return reinterpret_cast<T*>(bytes.mutable_data_ptr<uint8_t>());
}

std::tuple<Tensor, Tensor, Tensor> voxel_hash(const Tensor& points, double voxel_size) {
  check_cloud(points, voxel_size);
  const torch::stable::accelerator::DeviceGuard on_device(points.get_device_index());
  const Tensor p = torch::stable::contiguous(points);
  const int64_t N = p.size(0);
  const Tensor keys = new_empty(p, {N}, ScalarType::Long), voxel_of_point = new_empty(p, {N}, ScalarType::Long);
  if (N == 0) return {new_empty(keys, {0, 3}), new_empty(keys, {0}), voxel_of_point};
  const cudaStream_t stream = current_stream(p);
  const Tensor summary_bytes = room_for<Summary>(p);
  Tensor sorted = keys, rows = keys, voxels = keys;
  with_accumulator_dtype(p.scalar_type(), "voxel_hash", [&](auto zero) {
    using T = decltype(zero);
    const Tensor bounds_bytes = room_for<Bounds<T>>(p);
    auto* bounds = data_as<Bounds<T>>(bounds_bytes);
    const T* data = p.const_data_ptr<T>();
    start_bounds<<<1, 1, 0, stream>>>(bounds);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
    find_bounds<<<blocks_for(N), kThreads, 0, stream>>>(data, N, bounds);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
    pack_keys<<<blocks_for(N), kThreads, 0, stream>>>(data, N, voxel_size, bounds, keys.mutable_data_ptr<int64_t>());
    STD_CUDA_KERNEL_LAUNCH_CHECK();
    const auto [sorted_keys, rows_of_keys] = stable_sort(keys);
    sorted = sorted_keys, rows = rows_of_keys;
    const Tensor is_new = new_empty(keys, {N});
    mark_new_keys<<<blocks_for(N), kThreads, 0, stream>>>(sorted_keys.const_data_ptr<int64_t>(), N,
                                                          is_new.mutable_data_ptr<int64_t>());
    STD_CUDA_KERNEL_LAUNCH_CHECK();
    voxels = running_sums(is_new);
    summarize<<<1, 1, 0, stream>>>(voxels.const_data_ptr<int64_t>() + N - 1, bounds, voxel_size,
                                   data_as<Summary>(summary_bytes));
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  });
  const auto summary = read_from_device(data_as<const Summary>(summary_bytes), stream);
  for (const double extent : summary.extents)
    STD_TORCH_CHECK(extent <= kMostCells, extent, " cells along an axis, at most ", kMostCells,
                    " fit, and points must be finite");
  const Tensor cells = new_empty(keys, {summary.voxels, 3}), point_of_voxel = new_empty(keys, {summary.voxels});
  write_grid<<<blocks_for(N), kThreads, 0, stream>>>(
      sorted.const_data_ptr<int64_t>(), rows.const_data_ptr<int64_t>(), voxels.const_data_ptr<int64_t>(), N,
      {cells.mutable_data_ptr<int64_t>(), point_of_voxel.mutable_data_ptr<int64_t>(),
       voxel_of_point.mutable_data_ptr<int64_t>()});
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return {cells, point_of_voxel, voxel_of_point};
}

}  // namespace
}  // namespace geoguide3d::cuda

STABLE_TORCH_LIBRARY_IMPL(geoguide3d, CUDA, m) {
  m.impl("voxel_hash", TORCH_BOX(&geoguide3d::cuda::voxel_hash));
}
