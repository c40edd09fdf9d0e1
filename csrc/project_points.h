// Contract of project_points, shared by csrc/cpu, csrc/cuda and the reference in geoguide3d/ops/project_points.py.
//
//   Which of N world points each of V pinhole cameras sees, as CSR of the points of each view.
//
//     points            (N, 3)     float32 | float64, any strides
//     image_from_world  (V, 3, 4)  float64, intrinsics @ camera_from_world[:3]
//     sizes             (V, 2)     int64, width and height of each camera image
//     depth_maps        (V, h, w)  float32 | float64 z-depth, or none: then nothing is hidden
//     tolerances        (metres, ratio)
//     border_px
//
//   project_points(...) -> (offsets (V + 1,) int64, point_ids (E,) int64, uv (E, 2) float64, depth (E,) float32)
//     View v sees the points point_ids[offsets[v]] ... point_ids[offsets[v + 1] - 1], ascending; uv is their
//     projection, not rounded, depth their z. With (u z, v z, z) = image_from_world[v] @ (x, y, z, 1), a point is seen
//     where
//       z > 1e-6 (nearer to the camera's plane, z is rounding), and (u, v), rounded half to even, is a pixel at least
//       border_px away from the edges of the image; and |d - z| <= metres + ratio * d for the depth d of the map's
//       pixel nearest to (u, v), which must be finite and > 0.
//     A map of another size than the image is read at its own pixel centres: u' + 0.5 = (u + 0.5) * w / width.
//     Points that are not finite are seen by no view. Arithmetic is float64.
//
//   Two passes: the first decides and counts (a bit per point and view), the second writes. Results are deterministic,
//   equal on both devices bit for bit, and do not depend on the number of threads. N = 0 and V = 0 are valid. N and E
//   may exceed 2^31: positions are int64 throughout. The CUDA kernel waits once for the device, to learn E. No
//   gradient: the outputs are decisions and positions that no loss here reaches.
#pragma once
#include <torch/csrc/stable/ops.h>

#include <vector>

#include "camera.h"

namespace geoguide3d {
using torch::stable::Tensor;

struct VisibilityTest {
  double tolerance_m, tolerance_ratio, border;
};

// One camera image, and the depth map to compare with. D is float or double.
template <typename D>
struct View {
  const double* matrix;
  double width, height;
  const D* depth;  // (h, w), null where nothing is hidden
  int64_t h, w;
  VisibilityTest test;

  // Which element of the depth map to compare with, 0 where there is no map; -1 for a point outside the image.
  C10_HOST_DEVICE int64_t pixel_of(const ImagePoint& point) const {
    if (!(point.z > kLeastDepth)) return -1;
    const double u = point.uz / point.z, v = point.vz / point.z;
    const double column = std::rint(u), row = std::rint(v);
    const bool inside = column >= test.border && column < width - test.border && row >= test.border &&
                        row < height - test.border;  // false for NaN
    if (!inside) return -1;
    if (depth == nullptr) return 0;
    return nearest(v, static_cast<double>(h) / height, h) * w + nearest(u, static_cast<double>(w) / width, w);
  }

  // Whether a point at depth z is not hidden, by the map's element `pixel`.
  C10_HOST_DEVICE bool agrees(int64_t pixel, double z) const {
    if (depth == nullptr) return true;
    const auto d = static_cast<double>(depth[pixel]);
    const double tolerance = std::fma(test.tolerance_ratio, d, test.tolerance_m);
    return (d > 0) & (d < INFINITY) & (std::fabs(d - z) <= tolerance);  // no branches: any of them may fail
  }

  // Clamped, because a position may lie half a pixel outside.
  C10_HOST_DEVICE static int64_t nearest(double position, double scale, int64_t count) {
    const double there = std::rint(std::fma(position, scale, (scale - 1) / 2));
    const auto last = static_cast<double>(count - 1), at_least = there > 0 ? there : 0.0;
    return static_cast<int64_t>(at_least < last ? at_least : last);
  }
};

// All the views of a call.
template <typename D>
struct Views {
  const double* matrices;
  const int64_t* sizes;
  const D* depth;  // (V, h, w) or null
  int64_t V, h, w;
  VisibilityTest test;

  C10_HOST_DEVICE View<D> operator[](int64_t v) const {
    return {matrices + v * 12,
            static_cast<double>(sizes[2 * v]),
            static_cast<double>(sizes[2 * v + 1]),
            depth == nullptr ? nullptr : depth + v * h * w,
            h,
            w,
            test};
  }
};

inline void check_views(const Tensor& image_from_world, const Tensor& sizes, const std::optional<Tensor>& depth_maps,
                        const std::vector<double>& tolerances) {
  check_cameras(image_from_world);
  const int64_t V = image_from_world.size(0);
  STD_TORCH_CHECK(
      sizes.dim() == 2 && sizes.size(0) == V && sizes.size(1) == 2 && sizes.scalar_type() == ScalarType::Long,
      "sizes must be (", V, ", 2) int64");
  STD_TORCH_CHECK(tolerances.size() == 2, "tolerances must be (metres, ratio)");
  if (!depth_maps) return;
  STD_TORCH_CHECK(
      depth_maps->dim() == 3 && depth_maps->size(0) == V && depth_maps->size(1) > 0 && depth_maps->size(2) > 0,
      "depth_maps must be (", V, ", h, w), none of them empty");
}

// The views of contiguous tensors.
template <typename D>
Views<D> views_of(const Tensor& image_from_world, const Tensor& sizes, const std::optional<Tensor>& depth_maps,
                  const VisibilityTest& test) {
  return {image_from_world.const_data_ptr<double>(),
          sizes.const_data_ptr<int64_t>(),
          depth_maps ? depth_maps->const_data_ptr<D>() : nullptr,
          image_from_world.size(0),
          depth_maps ? depth_maps->size(1) : 0,
          depth_maps ? depth_maps->size(2) : 0,
          test};
}
}  // namespace geoguide3d
