// Contract of splat_depth, shared by csrc/cpu, csrc/cuda and the reference in geoguide3d/ops/splat_depth.py.
//
//   Depth images of N world points in V pinhole cameras, without the gaps between the points.
//
//     points            (N, 3)     float32 | float64, any strides
//     image_from_world  (V, 3, 4)  float64, intrinsics @ camera_from_world[:3]
//     radius_px_m       (V,)       float64, half side of a point's square in pixels, at a depth of one metre
//     height, width                of every image, > 0
//
//   splat_depth(...) -> (V, H, W) float32
//     The z-depth of the nearest point at each pixel; 0 where there is none.
//     A point falls on the pixel that its projection rounds to, half to even. Points are sorted into levels by the
//     radius of their square, radius_px_m / z, rounded up to one of 0, 1, 2, 4, 8, ... below L = max(1, W / 8), and L.
//     Each level is drawn by itself, the nearest point at each pixel; its gaps are closed by a closing of grey-level
//     morphology with a square of 2 radius + 1 pixels (each pixel takes the least depth in its square, then the
//     greatest of those); the result is the least of the levels. So gaps of up to 2 radius pixels fill, rims stay where
//     they are, and slanted surfaces keep their depth. Points up to L pixels outside the image help to close gaps
//     inside it. Points that are not finite or not in front of the camera (z <= 1e-6) are not drawn.
//
//   Deterministic, and independent of the number of threads: minima and maxima of the same numbers in any order. Both
//   devices give the same bits. N = 0 and V = 0 are valid. Memory: one (CPU) or two per level (CUDA) images of
//   (H + 2 L) x (W + 2 L) per view at work, besides the points that fall on it. No gradient.
#pragma once
#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <vector>

#include "camera.h"

namespace geoguide3d {
using torch::stable::Tensor;

constexpr int kMostLevels = 32;

// The radii that squares are rounded up to, ascending.
struct Levels {
  int32_t radius[kMostLevels];
  int count;

  C10_HOST_DEVICE int32_t largest() const { return radius[count - 1]; }
  C10_HOST_DEVICE int of(double radius_px) const {
    int level = 0;
    while (level + 1 < count && radius[level] < radius_px) ++level;
    return level;
  }
};

inline Levels levels_of(int64_t width) {
  const auto largest = static_cast<int32_t>(std::max<int64_t>(1, width / 8));
  Levels levels{{0}, 1};
  for (int64_t radius = 1; radius < largest; radius *= 2) levels.radius[levels.count++] = static_cast<int32_t>(radius);
  levels.radius[levels.count++] = largest;
  return levels;
}

// A point on the canvas: pixels of the image, negative to the left of it and above.
struct Drawn {
  int32_t column, row;
  float depth;
  int level;  // -1: not on the canvas
};

// The images of a call.
struct Images {
  int32_t width, height;
  Levels levels;

  C10_HOST_DEVICE Drawn draw(const ImagePoint& point, double radius_px_m) const {
    if (!(point.z > kLeastDepth)) return {0, 0, 0, -1};
    const double column = std::rint(point.uz / point.z), row = std::rint(point.vz / point.z);
    const double margin = levels.largest();
    const bool inside = column >= -margin && column < width + margin && row >= -margin && row < height + margin;
    if (!inside) return {0, 0, 0, -1};
    return {static_cast<int32_t>(column), static_cast<int32_t>(row), static_cast<float>(point.z),
            levels.of(radius_px_m / point.z)};
  }
};

inline Images check_splats(const Tensor& points, const Tensor& image_from_world, const Tensor& radius_px_m,
                           int64_t height, int64_t width) {
  check_points(points);
  check_cameras(image_from_world);
  STD_TORCH_CHECK(radius_px_m.dim() == 1 && radius_px_m.size(0) == image_from_world.size(0) &&
                      radius_px_m.scalar_type() == ScalarType::Double,
                  "radius_px_m must be (", image_from_world.size(0), ",) float64");
  constexpr int64_t kMostPixels = 1 << 28;  // along a side; four times that are int32
  STD_TORCH_CHECK(0 < height && height <= kMostPixels && 0 < width && width <= kMostPixels, "an image of ", width,
                  " x ", height);
  return {static_cast<int32_t>(width), static_cast<int32_t>(height), levels_of(width)};
}
}  // namespace geoguide3d
