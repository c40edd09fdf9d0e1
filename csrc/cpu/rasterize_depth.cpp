#include "../rasterize_depth.h"

#include <torch/csrc/stable/library.h>

#include <cmath>
#include <vector>

#include "grouping.h"

namespace geoguide3d::cpu {
namespace {

constexpr int64_t kBlock = 4096;  // vertices or faces that one thread takes at a time

int64_t block_count(int64_t items) {
  return (items + kBlock - 1) / kBlock;
}

// Calls body(item) for all of them, blocks of them side by side.
template <typename Body>
void for_blocks(int64_t items, Body body) {
  torch::stable::parallel_for(0, block_count(items), 1, [&](int64_t first, int64_t last) {
    for (int64_t item = first * kBlock; item < std::min(items, last * kBlock); ++item) body(item);
  });
}

// A face and the pixels it may cover.
struct Candidate {
  const int64_t* face;
  PixelBox box;
};

// The vertices in one view.
struct Projected {
  std::vector<ImagePoint> points;
  std::vector<uint8_t> sides;

  template <typename T>
  void project_all(const T* vertices, int64_t N, const double* matrix, const ImageSize& size) {
    points.resize(N);
    sides.resize(N);
    for_blocks(N, [&](int64_t n) {
      points[n] = project(matrix, vertices + 3 * n);
      sides[n] = outside(points[n], size);
    });
  }
  bool may_be_seen(const int64_t* face) const {
    const uint8_t p = sides[face[0]], q = sides[face[1]], r = sides[face[2]];
    return (p & q & r) == 0 && ((p | q | r) & kNotFinite) == 0;
  }
  PixelBox box(const int64_t* face, const ImageSize& size) const {
    return box_of(points[face[0]], points[face[1]], points[face[2]], size);
  }
  bool set(Triangle& triangle, const int64_t* face) const {
    return triangle.set(points[face[0]], points[face[1]], points[face[2]]);
  }
};

// By block of faces.
std::vector<std::vector<Candidate>> find_candidates(const Projected& projected, const int64_t* faces, int64_t F,
                                                    const ImageSize& size) {
  std::vector<std::vector<Candidate>> candidates(block_count(F));
  for_blocks(F, [&](int64_t f) {
    const int64_t* face = faces + 3 * f;
    if (!projected.may_be_seen(face)) return;
    const PixelBox box = projected.box(face, size);
    if (!box.is_empty()) candidates[f / kBlock].push_back({face, box});
  });
  return candidates;
}

// `image` begins at column `left`. Loop and numbers are such that compilers make vectors of them.
void draw_row(const Triangle& triangle, const Triangle::Row& row, int32_t left, int32_t count,
              float* __restrict image) {
  for (int32_t i = 0; i < count; ++i) {
    const auto u = static_cast<double>(left + i);
    const float depth = triangle.depth(u, row), here = image[i];
    const bool nearer = triangle.covers(u, row) & (depth < here);
    image[i] = nearer ? depth : here;
  }
}

// Draws what falls on rows [top, bottom) of the image.
void draw_band(const Projected& projected, const std::vector<std::vector<Candidate>>& candidates, int64_t top,
               int64_t bottom, const ImageSize& size, float* image) {
  std::fill(image + top * size.width, image + bottom * size.width, INFINITY);
  Triangle triangle;
  for (const std::vector<Candidate>& block : candidates) {
    for (const Candidate& candidate : block) {
      const int64_t first = std::max(candidate.box.top, top), last = std::min(candidate.box.bottom, bottom - 1);
      if (first > last || !projected.set(triangle, candidate.face)) continue;
      const PixelBox& box = candidate.box;
      for (int64_t v = first; v <= last; ++v)
        draw_row(triangle, triangle.row(static_cast<double>(v)), static_cast<int32_t>(box.left),
                 static_cast<int32_t>(box.right - box.left + 1), image + v * size.width + box.left);
    }
  }
  for (int64_t i = top * size.width; i < bottom * size.width; ++i) image[i] = image[i] == INFINITY ? 0.0f : image[i];
}

Tensor rasterize_depth(const Tensor& vertices, const Tensor& faces, const Tensor& image_from_world, int64_t height,
                       int64_t width) {
  const ImageSize size = check_mesh(vertices, faces, image_from_world, height, width);
  const int64_t N = vertices.size(0), F = faces.size(0), V = image_from_world.size(0);
  const Tensor points = torch::stable::contiguous(vertices), f = torch::stable::contiguous(faces);
  const Tensor matrices = torch::stable::contiguous(image_from_world);
  check_range(f.const_data_ptr<int64_t>(), F, 3, N, "faces");
  const Tensor depth = torch::stable::new_empty(matrices, {V, height, width}, ScalarType::Float);
  // Many views: a thread for each, which draws all rows at once. Few: the threads share the rows of each view.
  const auto threads = static_cast<int64_t>(torch::stable::get_num_threads());
  const bool thread_per_view = V >= threads;
  const int64_t band = thread_per_view ? height : std::max<int64_t>(1, height / (4 * threads));
  with_accumulator_dtype(points.scalar_type(), "rasterize_depth", [&](auto zero) {
    using T = decltype(zero);
    torch::stable::parallel_for(0, V, thread_per_view ? 1 : std::max<int64_t>(V, 1), [&](int64_t begin, int64_t end) {
      Projected projected;
      for (int64_t v = begin; v < end; ++v) {
        projected.project_all(points.const_data_ptr<T>(), N, matrices.const_data_ptr<double>() + v * 12, size);
        const auto candidates = find_candidates(projected, f.const_data_ptr<int64_t>(), F, size);
        float* image = depth.mutable_data_ptr<float>() + v * height * width;
        torch::stable::parallel_for(0, (height + band - 1) / band, 1, [&](int64_t first, int64_t last) {
          for (int64_t b = first; b < last; ++b)
            draw_band(projected, candidates, b * band, std::min(height, (b + 1) * band), size, image);
        });
      }
    });
  });
  return depth;
}

}  // namespace
}  // namespace geoguide3d::cpu

STABLE_TORCH_LIBRARY_IMPL(geoguide3d, CPU, m) {
  m.impl("rasterize_depth", TORCH_BOX(&geoguide3d::cpu::rasterize_depth));
}
