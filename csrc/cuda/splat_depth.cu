#include "../splat_depth.h"

#include <torch/csrc/stable/library.h>

#include <utility>

#include "launch.cuh"

namespace geoguide3d::cuda {
namespace {

using torch::stable::new_empty;

constexpr int kSegment = 1024;        // pixels of a line that one block writes
constexpr int32_t kMostReach = 2560;  // pixels; a segment with twice that, and a copy of it, fit 48 KiB

// The levels of one view, each on its own canvas: the image with a margin of the largest radius.
struct Canvas {
  Images images;
  int32_t margin, width, height;

  __host__ __device__ int64_t pixels() const { return int64_t{width} * height; }
  __device__ int64_t pixel(int64_t row, int64_t column) const { return (row + margin) * width + column + margin; }
};

Canvas canvas_of(const Images& images) {
  const int32_t margin = images.levels.largest();
  return {images, margin, images.width + 2 * margin, images.height + 2 * margin};
}

// layers is (levels, height, width).
__global__ void clear_layers(int32_t* layers, int64_t count, int32_t* used, int levels) {
  const int64_t i = thread_number();
  if (i < count) layers[i] = kNothing;
  if (i < levels) used[i] = 0;
}

// The least of integers does not depend on the order of the threads.
template <typename T>
__global__ void draw_points(const T* points, int64_t N, const double* matrix, const double* radius_px_m, Canvas canvas,
                            int32_t* layers, int32_t* used) {
  const int64_t n = thread_number();
  if (n >= N) return;
  const Drawn drawn = canvas.images.draw(project(matrix, points + 3 * n), *radius_px_m);
  if (drawn.level < 0) return;
  atomicMin(layers + drawn.level * canvas.pixels() + canvas.pixel(drawn.row, drawn.column),
            __float_as_int(drawn.depth));
  used[drawn.level] = 1;
}

struct Least {
  static constexpr int32_t kOutside = kNothing;
  __device__ static int32_t choose(int32_t a, int32_t b) { return a < b ? a : b; }
};
struct Greatest {
  static constexpr int32_t kOutside = 0;  // no depth is less
  __device__ static int32_t choose(int32_t a, int32_t b) { return a < b ? b : a; }
};

// out[level][i][line] is the chosen one of in[level][line][i - r] ... in[level][line][i + r]: transposed, so that a
// second call works along the other axis. Levels that hold nothing, or whose r is 0, are left as they are. Blocks
// (line, segment of the line, level). Runs of 2, 4, 8, ... numbers are made from two runs each.
template <typename Choice>
__global__ void slide_along_lines(const int32_t* in, int32_t* out, int32_t length, Levels levels, const int32_t* used) {
  extern __shared__ int32_t scratch[];
  const int level = static_cast<int>(blockIdx.z);
  const int32_t radius = levels.radius[level];
  if (radius == 0 || used[level] == 0) return;
  const int64_t lines = gridDim.x, line = blockIdx.x, first = blockIdx.y * int64_t{kSegment};
  in += (level * lines + line) * length;
  out += level * lines * length + line;
  int32_t run = kSegment + 2 * radius;
  int32_t *values = scratch, *other = scratch + run;
  for (int32_t k = static_cast<int32_t>(threadIdx.x); k < run; k += kThreads) {
    const int64_t i = first + k - radius;
    values[k] = 0 <= i && i < length ? in[i] : Choice::kOutside;
  }
  for (int32_t covered = 1; covered < 2 * radius + 1;) {
    const int32_t step = min(covered, 2 * radius + 1 - covered);
    run -= step;
    __syncthreads();
    for (int32_t k = static_cast<int32_t>(threadIdx.x); k < run; k += kThreads)
      other[k] = Choice::choose(values[k], values[k + step]);
    int32_t* swapped = values;
    values = other;
    other = swapped;
    covered += step;
  }
  __syncthreads();
  for (int32_t k = static_cast<int32_t>(threadIdx.x); k < kSegment && first + k < length; k += kThreads)
    out[(first + k) * lines] = values[k];
}

// depth is (H, W).
__global__ void take_nearest(const int32_t* layers, const int32_t* used, Canvas canvas, float* depth) {
  const int64_t i = thread_number();
  if (i >= int64_t{canvas.images.width} * canvas.images.height) return;
  const int64_t pixel = canvas.pixel(i / canvas.images.width, i % canvas.images.width);
  int32_t nearest = kNothing;
  for (int level = 0; level < canvas.images.levels.count; ++level)
    if (used[level] != 0) nearest = min(nearest, layers[level * canvas.pixels() + pixel]);
  depth[i] = nearest == kNothing ? 0.0f : __int_as_float(nearest);
}

// Turns lines of `length` numbers into `length` lines.
template <typename Choice>
void slide(const int32_t* in, int32_t* out, int32_t lines, int32_t length, const Canvas& canvas, const int32_t* used,
           cudaStream_t stream) {
  const Levels& levels = canvas.images.levels;
  const dim3 blocks(lines, (length + kSegment - 1) / kSegment, levels.count);
  const size_t bytes = 2 * (kSegment + 2 * static_cast<size_t>(levels.largest())) * sizeof(int32_t);
  slide_along_lines<Choice><<<blocks, kThreads, bytes, stream>>>(in, out, length, levels, used);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
}

// Leaves the result where the drawing was.
void close_gaps(int32_t* layers, int32_t* other, const Canvas& canvas, const int32_t* used, cudaStream_t stream) {
  slide<Least>(layers, other, canvas.height, canvas.width, canvas, used, stream);
  slide<Least>(other, layers, canvas.width, canvas.height, canvas, used, stream);
  slide<Greatest>(layers, other, canvas.height, canvas.width, canvas, used, stream);
  slide<Greatest>(other, layers, canvas.width, canvas.height, canvas, used, stream);
}

Tensor splat_depth(const Tensor& points, const Tensor& image_from_world, const Tensor& radius_px_m, int64_t height,
                   int64_t width) {
  const Images images = check_splats(points, image_from_world, radius_px_m, height, width);
  const Canvas canvas = canvas_of(images);
  STD_TORCH_CHECK(canvas.margin <= kMostReach, "images of more than ", 8 * kMostReach, " columns are drawn on the CPU");
  const torch::stable::accelerator::DeviceGuard on_device(points.get_device_index());
  const int64_t N = points.size(0), V = image_from_world.size(0), levels = images.levels.count;
  const Tensor p = torch::stable::contiguous(points), matrices = torch::stable::contiguous(image_from_world);
  const Tensor radii = torch::stable::contiguous(radius_px_m);
  const Tensor depth = new_empty(matrices, {V, height, width}, ScalarType::Float);
  if (V == 0) return depth;
  const int64_t count = levels * canvas.pixels();
  const Tensor memory = new_empty(matrices, {2 * count + levels}, ScalarType::Int);
  int32_t *layers = memory.mutable_data_ptr<int32_t>(), *other = layers + count, *used = other + count;
  const cudaStream_t stream = current_stream(p);
  for (int64_t v = 0; v < V; ++v) {
    clear_layers<<<blocks_for(count), kThreads, 0, stream>>>(layers, count, used, static_cast<int>(levels));
    STD_CUDA_KERNEL_LAUNCH_CHECK();
    with_accumulator_dtype(p.scalar_type(), "splat_depth", [&](auto zero) {
      using T = decltype(zero);
      if (N == 0) return;
      draw_points<<<blocks_for(N), kThreads, 0, stream>>>(p.const_data_ptr<T>(), N,
                                                          matrices.const_data_ptr<double>() + v * 12,
                                                          radii.const_data_ptr<double>() + v, canvas, layers, used);
      STD_CUDA_KERNEL_LAUNCH_CHECK();
    });
    close_gaps(layers, other, canvas, used, stream);
    take_nearest<<<blocks_for(height * width), kThreads, 0, stream>>>(
        layers, used, canvas, depth.mutable_data_ptr<float>() + v * height * width);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }
  return depth;
}

}  // namespace
}  // namespace geoguide3d::cuda

STABLE_TORCH_LIBRARY_IMPL(geoguide3d, CUDA, m) {
  m.impl("splat_depth", TORCH_BOX(&geoguide3d::cuda::splat_depth));
}
