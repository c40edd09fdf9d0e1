// Pinhole projection with the same bits on every device and in every loop: fused multiply-adds are written out, so that
// no compiler chooses where to round.
#pragma once
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/macros/Macros.h>

#include <cmath>
#include <cstdint>

#include "dtypes.h"

namespace geoguide3d {
constexpr double kLeastDepth = 1e-6;  // metres; a point at the optical centre comes out within 1e-9

constexpr int32_t kNothing = 0x7f800000;  // the bits of infinity; those of positive floats are ordered as they are

// A point times (u, v, 1): the projection is (uz / z, vz / z), at depth z.
struct ImagePoint {
  double uz, vz, z;
};

// `matrix` is intrinsics @ camera_from_world[:3], (3, 4) row-major.
C10_HOST_DEVICE inline ImagePoint project(const double* matrix, double x, double y, double z) {
  return {std::fma(matrix[0], x, std::fma(matrix[1], y, std::fma(matrix[2], z, matrix[3]))),
          std::fma(matrix[4], x, std::fma(matrix[5], y, std::fma(matrix[6], z, matrix[7]))),
          std::fma(matrix[8], x, std::fma(matrix[9], y, std::fma(matrix[10], z, matrix[11])))};
}

template <typename T>
C10_HOST_DEVICE inline ImagePoint project(const double* matrix, const T* point) {
  return project(matrix, static_cast<double>(point[0]), static_cast<double>(point[1]), static_cast<double>(point[2]));
}

inline void check_points(const torch::stable::Tensor& points) {
  STD_TORCH_CHECK(points.dim() == 2 && points.size(1) == 3, "points must be (N, 3)");
}

inline void check_cameras(const torch::stable::Tensor& image_from_world) {
  STD_TORCH_CHECK(image_from_world.dim() == 3 && image_from_world.size(1) == 3 && image_from_world.size(2) == 4 &&
                      image_from_world.scalar_type() == ScalarType::Double,
                  "image_from_world must be (V, 3, 4) float64");
}
}  // namespace geoguide3d
