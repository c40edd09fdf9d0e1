#include "../rasterize_depth.h"

#include <torch/csrc/stable/library.h>

#include "launch.cuh"

namespace geoguide3d::cuda {
namespace {

using torch::stable::new_empty;

constexpr int64_t kSmallBox = 64;  // pixels; a thread draws such a triangle by itself, a warp draws larger ones
constexpr unsigned kAllLanes = 0xffffffffu;

struct Mesh {
  const ImagePoint* points;
  const uint8_t* sides;
  const int64_t* faces;
  int64_t N, F;

  __device__ bool may_be_seen(const int64_t* face) const {
    for (int k = 0; k < 3; ++k) assert(0 <= face[k] && face[k] < N && "face out of range");
    const uint8_t p = sides[face[0]], q = sides[face[1]], r = sides[face[2]];
    return (p & q & r) == 0 && ((p | q | r) & kNotFinite) == 0;
  }
  __device__ PixelBox box(const int64_t* face, const ImageSize& size) const {
    return box_of(points[face[0]], points[face[1]], points[face[2]], size);
  }
  __device__ bool set(Triangle& triangle, const int64_t* face) const {
    return triangle.set(points[face[0]], points[face[1]], points[face[2]]);
  }
};

template <typename T>
__global__ void project_vertices(const T* vertices, int64_t N, const double* matrix, ImageSize size, ImagePoint* points,
                                 uint8_t* sides) {
  const int64_t n = thread_number();
  if (n >= N) return;
  points[n] = project(matrix, vertices + 3 * n);
  sides[n] = outside(points[n], size);
}

__global__ void clear_image(int32_t* image, int64_t pixels) {
  const int64_t i = thread_number();
  if (i < pixels) image[i] = kNothing;
}

__global__ void finish_image(int32_t* image, int64_t pixels) {
  const int64_t i = thread_number();
  if (i < pixels && image[i] == kNothing) image[i] = 0;
}

// Columns left, left + step, ... of the box, all of its rows. The least does not depend on the order of the threads.
__device__ void draw(const Triangle& triangle, const PixelBox& box, int64_t left, int64_t step, int64_t width,
                     int32_t* image) {
  for (int64_t v = box.top; v <= box.bottom; ++v) {
    const Triangle::Row row = triangle.row(static_cast<double>(v));
    for (int64_t column = left; column <= box.right; column += step) {
      const auto u = static_cast<double>(column);
      if (!triangle.covers(u, row)) continue;
      const int32_t depth = __float_as_int(triangle.depth(u, row));
      int32_t* pixel = image + v * width + column;
      if (depth < *pixel) atomicMin(pixel, depth);
    }
  }
}

// A thread for each face; large ones are drawn by the thread's whole warp, one after the other.
__global__ void draw_faces(Mesh mesh, ImageSize size, int32_t* image) {
  const int64_t f = thread_number();
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  Triangle triangle;
  PixelBox box{0, -1, 0, -1};
  if (f < mesh.F && mesh.may_be_seen(mesh.faces + 3 * f)) box = mesh.box(mesh.faces + 3 * f, size);
  const bool seen = !box.is_empty();
  const bool large = seen && (box.right - box.left + 1) * (box.bottom - box.top + 1) > kSmallBox;
  if (seen && !large && mesh.set(triangle, mesh.faces + 3 * f)) draw(triangle, box, box.left, 1, size.width, image);
  __syncwarp();
  for (unsigned waiting = __ballot_sync(kAllLanes, large); waiting != 0; waiting &= waiting - 1) {
    const int64_t* face = mesh.faces + 3 * __shfl_sync(kAllLanes, f, __ffs(static_cast<int>(waiting)) - 1);
    const PixelBox whole = mesh.box(face, size);
    if (mesh.set(triangle, face)) draw(triangle, whole, whole.left + lane, kWarp, size.width, image);
    __syncwarp();
  }
}

Tensor rasterize_depth(const Tensor& vertices, const Tensor& faces, const Tensor& image_from_world, int64_t height,
                       int64_t width) {
  const ImageSize size = check_mesh(vertices, faces, image_from_world, height, width);
  const torch::stable::accelerator::DeviceGuard on_device(vertices.get_device_index());
  const int64_t N = vertices.size(0), F = faces.size(0), V = image_from_world.size(0), pixels = height * width;
  const Tensor p = torch::stable::contiguous(vertices), f = torch::stable::contiguous(faces);
  const Tensor matrices = torch::stable::contiguous(image_from_world);
  const Tensor depth = new_empty(matrices, {V, height, width}, ScalarType::Float);
  const Tensor points = new_empty(matrices, {N, 3}), sides = new_empty(matrices, {N}, ScalarType::Byte);
  static_assert(sizeof(ImagePoint) == 3 * sizeof(double));
  auto* image_points = reinterpret_cast<ImagePoint*>(points.mutable_data_ptr<double>());
  const Mesh mesh{image_points, sides.const_data_ptr<uint8_t>(), f.const_data_ptr<int64_t>(), N, F};
  const cudaStream_t stream = current_stream(p);
  for (int64_t v = 0; v < V; ++v) {
    auto* image = reinterpret_cast<int32_t*>(depth.mutable_data_ptr<float>() + v * pixels);
    clear_image<<<blocks_for(pixels), kThreads, 0, stream>>>(image, pixels);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
    with_accumulator_dtype(p.scalar_type(), "rasterize_depth", [&](auto zero) {
      using T = decltype(zero);
      if (N == 0) return;
      project_vertices<<<blocks_for(N), kThreads, 0, stream>>>(p.const_data_ptr<T>(), N,
                                                               matrices.const_data_ptr<double>() + v * 12, size,
                                                               image_points, sides.mutable_data_ptr<uint8_t>());
      STD_CUDA_KERNEL_LAUNCH_CHECK();
    });
    if (F > 0) {
      draw_faces<<<blocks_for(F), kThreads, 0, stream>>>(mesh, size, image);
      STD_CUDA_KERNEL_LAUNCH_CHECK();
    }
    finish_image<<<blocks_for(pixels), kThreads, 0, stream>>>(image, pixels);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }
  return depth;
}

}  // namespace
}  // namespace geoguide3d::cuda

STABLE_TORCH_LIBRARY_IMPL(geoguide3d, CUDA, m) {
  m.impl("rasterize_depth", TORCH_BOX(&geoguide3d::cuda::rasterize_depth));
}
