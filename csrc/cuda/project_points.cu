#include "../project_points.h"

#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <tuple>

#include "launch.cuh"

namespace geoguide3d::cuda {
namespace {

using torch::stable::new_empty;

constexpr int64_t kMostRows = 65535;  // of a grid
constexpr int kScanThreads = 1024;
constexpr unsigned kAllLanes = 0xffffffffu;

dim3 grid_of(int64_t blocks, int64_t V) {
  return {static_cast<unsigned>(blocks), static_cast<unsigned>(std::min(V, kMostRows))};
}

// A thread for each point, a row of the grid for each view. bits is (V, blocks, kWarpsPerBlock), a bit for each point;
// counts is (V, blocks).
template <typename T, typename D>
__global__ void decide(const T* points, int64_t N, Views<D> views, uint32_t* bits, int64_t* counts) {
  const int64_t n = thread_number(), blocks = gridDim.x;
  double x[3] = {NAN, NAN, NAN};  // threads past the end take part in the counting
  if (n < N)
    for (int k = 0; k < 3; ++k) x[k] = static_cast<double>(points[3 * n + k]);
  for (int64_t v = blockIdx.y; v < views.V; v += gridDim.y) {
    const View<D> view = views[v];
    const ImagePoint p = project(view.matrix, x[0], x[1], x[2]);
    const int64_t pixel = view.pixel_of(p);
    const bool seen = pixel >= 0 && view.agrees(pixel, p.z);
    const int64_t place = v * blocks + blockIdx.x;
    const uint32_t word = __ballot_sync(kAllLanes, seen);
    if (threadIdx.x % kWarp == 0) bits[place * kWarpsPerBlock + threadIdx.x / kWarp] = word;
    const int count = __syncthreads_count(seen);
    if (threadIdx.x == 0) counts[place] = count;
  }
}

// Replaces each row of `length` numbers by the sums of those before, and writes the sum of row r to totals[r]. A block
// of kScanThreads for each row; totals may follow the row in memory.
__global__ void scan_rows(int64_t* data, int64_t length, int64_t* totals) {
  __shared__ int64_t sums[kScanThreads];
  int64_t* row = data + blockIdx.x * length;
  int64_t before = 0;
  for (int64_t first = 0; first < length; first += kScanThreads) {
    const int64_t i = first + threadIdx.x;
    const int64_t own = i < length ? row[i] : 0;
    sums[threadIdx.x] = own;
    for (int step = 1; step < kScanThreads; step *= 2) {
      __syncthreads();
      const int64_t add = static_cast<int>(threadIdx.x) >= step ? sums[threadIdx.x - step] : 0;
      __syncthreads();
      sums[threadIdx.x] += add;
    }
    __syncthreads();
    if (i < length) row[i] = before + sums[threadIdx.x] - own;
    before += sums[kScanThreads - 1];
    __syncthreads();
  }
  if (threadIdx.x == 0) totals[blockIdx.x] = before;
}

// Columns of the output.
struct Rows {
  int64_t* point_ids;
  double* uv;
  float* depth;
};

// The grid of decide; begin (V, blocks) counts from the first row of the view, offsets (V + 1,) tells which that is.
template <typename T>
__global__ void write_seen(const T* points, const double* matrices, int64_t V, const uint32_t* bits,
                           const int64_t* begin, const int64_t* offsets, Rows rows) {
  const int64_t n = thread_number();
  const unsigned warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  for (int64_t v = blockIdx.y; v < V; v += gridDim.y) {
    const int64_t place = v * gridDim.x + blockIdx.x;
    const uint32_t* words = bits + place * kWarpsPerBlock;
    if (!((words[warp] >> lane) & 1u)) continue;
    int64_t row = offsets[v] + begin[place] + __popc(words[warp] & ((1u << lane) - 1u));
    for (unsigned earlier = 0; earlier < warp; ++earlier) row += __popc(words[earlier]);
    const ImagePoint p = project(matrices + v * 12, points + 3 * n);
    rows.point_ids[row] = n;
    rows.uv[2 * row] = p.uz / p.z;
    rows.uv[2 * row + 1] = p.vz / p.z;
    rows.depth[row] = static_cast<float>(p.z);
  }
}

// Waits for the device.
int64_t read_number(const int64_t* number, cudaStream_t stream) {
  int64_t value = 0;
  STD_CUDA_CHECK(cudaMemcpyAsync(&value, number, sizeof(value), cudaMemcpyDeviceToHost, stream));
  STD_CUDA_CHECK(cudaStreamSynchronize(stream));
  return value;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> project_points(const Tensor& points, const Tensor& image_from_world,
                                                          const Tensor& sizes, const std::optional<Tensor>& depth_maps,
                                                          const std::vector<double>& tolerances, int64_t border_px) {
  check_points(points);
  check_views(image_from_world, sizes, depth_maps, tolerances);
  const torch::stable::accelerator::DeviceGuard on_device(points.get_device_index());
  const int64_t N = points.size(0), V = image_from_world.size(0);
  const Tensor p = torch::stable::contiguous(points), matrices = torch::stable::contiguous(image_from_world);
  const Tensor s = torch::stable::contiguous(sizes);
  std::optional<Tensor> maps;
  if (depth_maps) maps = torch::stable::contiguous(*depth_maps);
  const VisibilityTest test{tolerances[0], tolerances[1], static_cast<double>(border_px)};
  const Tensor offsets = torch::stable::new_zeros(s, {V + 1});
  const auto outputs = [&](int64_t E) {
    return std::tuple{offsets, new_empty(s, {E}), new_empty(matrices, {E, 2}),
                      new_empty(matrices, {E}, ScalarType::Float)};
  };
  if (N == 0 || V == 0) return outputs(0);

  const int64_t blocks = blocks_for(N);
  const dim3 grid = grid_of(blocks, V);
  const cudaStream_t stream = current_stream(p);
  const Tensor bits = new_empty(s, {V * blocks * kWarpsPerBlock}, ScalarType::Int), counts = new_empty(s, {V * blocks});
  auto* words = reinterpret_cast<uint32_t*>(bits.mutable_data_ptr<int32_t>());
  int64_t *begin = counts.mutable_data_ptr<int64_t>(), *ends = offsets.mutable_data_ptr<int64_t>();
  with_accumulator_dtype(p.scalar_type(), "project_points", [&](auto zero) {
    using T = decltype(zero);
    with_accumulator_dtype(maps ? maps->scalar_type() : ScalarType::Float, "project_points", [&](auto depth_zero) {
      const auto views = views_of<decltype(depth_zero)>(matrices, s, maps, test);
      decide<<<grid, kThreads, 0, stream>>>(p.const_data_ptr<T>(), N, views, words, begin);
      STD_CUDA_KERNEL_LAUNCH_CHECK();
    });
  });
  scan_rows<<<static_cast<unsigned>(V), kScanThreads, 0, stream>>>(begin, blocks, ends);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  scan_rows<<<1, kScanThreads, 0, stream>>>(ends, V, ends + V);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  const auto out = outputs(read_number(ends + V, stream));
  const Rows rows{std::get<1>(out).mutable_data_ptr<int64_t>(), std::get<2>(out).mutable_data_ptr<double>(),
                  std::get<3>(out).mutable_data_ptr<float>()};
  with_accumulator_dtype(p.scalar_type(), "project_points", [&](auto zero) {
    using T = decltype(zero);
    write_seen<<<grid, kThreads, 0, stream>>>(p.const_data_ptr<T>(), matrices.const_data_ptr<double>(), V, words, begin,
                                              ends, rows);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  });
  return out;
}

}  // namespace
}  // namespace geoguide3d::cuda

STABLE_TORCH_LIBRARY_IMPL(geoguide3d, CUDA, m) {
  m.impl("project_points", TORCH_BOX(&geoguide3d::cuda::project_points));
}
