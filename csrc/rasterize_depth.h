// Contract of rasterize_depth, shared by csrc/cpu, csrc/cuda and the reference in geoguide3d/ops/rasterize_depth.py.
//
//   Depth images of a triangle mesh in V pinhole cameras.
//
//     vertices          (N, 3)     float32 | float64, any strides
//     faces             (F, 3)     int64, 0 <= id < N
//     image_from_world  (V, 3, 4)  float64, intrinsics @ camera_from_world[:3]
//     height, width                of every image, > 0
//
//   rasterize_depth(...) -> (V, H, W) float32
//     The z-depth at which the ray through each pixel's centre (at integers) first meets a triangle; 0 where it meets
//     none. Both sides of a triangle count. A centre on an edge belongs to the triangle, and neighbours compute the
//     edge they share from the same numbers, so no centre falls between them. Triangles without area and triangles with
//     a vertex that is not finite are skipped. No near plane: a triangle that reaches behind the camera is cut at z =
//     0.
//
//   Rays are tested against homogeneous edges (Olano and Greer, Triangle Scan Conversion using 2D Homogeneous
//   Coordinates, 1997): with image points p, q, r = (u z, v z, z) and the ray (u, v, 1), the edge p x q . ray has the
//   sign of det(p, q, r) for all three edges inside the triangle, and 1 / z is linear in (u, v). Arithmetic is float64.
//
//   Deterministic and independent of the number of threads: the least of the same numbers in any order. Both devices
//   give the same bits. N, F and V of 0 are valid. An id outside [0, N) is an error: an exception on the CPU, a
//   device-side assertion on CUDA. Memory: N image points per view at work. No gradient.
#pragma once
#include <torch/csrc/stable/ops.h>

#include <algorithm>

#include "camera.h"

namespace geoguide3d {
using torch::stable::Tensor;

struct ImageSize {
  int64_t width, height;
};

// On which sides of the image's pixel centres a point lies; a triangle whose points share a side is not in the image.
enum Outside : uint8_t { kLeft = 1, kRight = 2, kAbove = 4, kBelow = 8, kBehind = 16, kNotFinite = 32 };

C10_HOST_DEVICE inline uint8_t outside(const ImagePoint& p, const ImageSize& size) {
  constexpr double kSlack = 0.01;  // pixels, far more than rounding
  const auto right = static_cast<double>(size.width - 1) + kSlack,
             below = static_cast<double>(size.height - 1) + kSlack;
  const double sum = p.uz + p.vz + p.z;
  return (p.uz < -kSlack * p.z ? kLeft : 0) | (p.uz > right * p.z ? kRight : 0) | (p.vz < -kSlack * p.z ? kAbove : 0) |
         (p.vz > below * p.z ? kBelow : 0) | (p.z > kLeastDepth ? 0 : kBehind) | (sum - sum == 0 ? 0 : kNotFinite);
}

// Pixels [left, right] x [top, bottom], edges included.
struct PixelBox {
  int64_t left, right, top, bottom;

  C10_HOST_DEVICE bool is_empty() const { return left > right || top > bottom; }
};

C10_HOST_DEVICE inline double least(double a, double b) {
  return a < b ? a : b;
}
C10_HOST_DEVICE inline double greatest(double a, double b) {
  return a < b ? b : a;
}

struct Normal {
  double x, y, z;

  C10_HOST_DEVICE double along(double u, double row_term) const { return std::fma(x, u, row_term); }
  C10_HOST_DEVICE double row_term(double v) const { return std::fma(y, v, z); }
};

// a b - c d without cancellation (Kahan).
C10_HOST_DEVICE inline double difference_of_products(double a, double b, double c, double d) {
  const double cd = c * d, error = std::fma(-c, d, cd);
  return std::fma(a, b, -cd) + error;
}

C10_HOST_DEVICE inline Normal cross(const ImagePoint& p, const ImagePoint& q) {
  return {difference_of_products(p.vz, q.z, p.z, q.vz), difference_of_products(p.z, q.uz, p.uz, q.z),
          difference_of_products(p.uz, q.vz, p.vz, q.uz)};
}

// p x q times sign; computed from the same operands for (p, q) and for (q, p), so that these are opposite bit for bit.
C10_HOST_DEVICE inline Normal edge_between(const ImagePoint& p, const ImagePoint& q, double sign) {
  const bool in_order = p.uz != q.uz ? p.uz < q.uz : p.vz != q.vz ? p.vz < q.vz : p.z < q.z;
  const Normal n = in_order ? cross(p, q) : cross(q, p);
  const double turn = in_order ? sign : -sign;
  return {turn * n.x, turn * n.y, turn * n.z};
}

// One triangle, ready to be asked for its depth at pixels.
struct Triangle {
  Normal edges[3], plane;
  double determinant, nearest, farthest;

  // False where the triangle has no area as seen from the camera.
  C10_HOST_DEVICE bool set(const ImagePoint& p, const ImagePoint& q, const ImagePoint& r) {
    const ImagePoint pq{q.uz - p.uz, q.vz - p.vz, q.z - p.z}, pr{r.uz - p.uz, r.vz - p.vz, r.z - p.z};
    plane = cross(pq, pr);
    determinant = std::fma(p.uz, plane.x, std::fma(p.vz, plane.y, p.z * plane.z));
    if (!(determinant != 0 && determinant - determinant == 0)) return false;  // not for NaN and infinity either
    const double sign = determinant > 0 ? 1 : -1;
    edges[0] = edge_between(p, q, sign);
    edges[1] = edge_between(q, r, sign);
    edges[2] = edge_between(r, p, sign);
    nearest = greatest(least(p.z, least(q.z, r.z)), kLeastDepth);
    farthest = greatest(p.z, greatest(q.z, r.z));
    return true;
  }

  struct Row {
    double edges[3], plane;
  };
  C10_HOST_DEVICE Row row(double v) const {
    return {{edges[0].row_term(v), edges[1].row_term(v), edges[2].row_term(v)}, plane.row_term(v)};
  }
  C10_HOST_DEVICE bool covers(double u, const Row& row) const {
    return (edges[0].along(u, row.edges[0]) >= 0) & (edges[1].along(u, row.edges[1]) >= 0) &
           (edges[2].along(u, row.edges[2]) >= 0);
  }
  // Where the triangle covers the pixel. Clamped, because a triangle seen nearly edge-on amplifies rounding.
  C10_HOST_DEVICE float depth(double u, const Row& row) const {
    const double z = determinant / plane.along(u, row.plane);
    return static_cast<float>(least(greatest(z, nearest), farthest));
  }
};

// The pixels that a triangle may cover: all of them where it reaches behind the camera.
C10_HOST_DEVICE inline PixelBox box_of(const ImagePoint& p, const ImagePoint& q, const ImagePoint& r,
                                       const ImageSize& size) {
  const PixelBox all{0, size.width - 1, 0, size.height - 1};
  if (!(p.z > kLeastDepth && q.z > kLeastDepth && r.z > kLeastDepth)) return all;
  constexpr double kSlack = 1e-6;  // pixels, for the rounding of these quotients
  const double u[3] = {p.uz / p.z, q.uz / q.z, r.uz / r.z}, v[3] = {p.vz / p.z, q.vz / q.z, r.vz / r.z};
  const double left = std::ceil(least(u[0], least(u[1], u[2])) - kSlack);
  const double right = std::floor(greatest(u[0], greatest(u[1], u[2])) + kSlack);
  const double top = std::ceil(least(v[0], least(v[1], v[2])) - kSlack);
  const double bottom = std::floor(greatest(v[0], greatest(v[1], v[2])) + kSlack);
  // Clamped while they are floats, which hold any number.
  return {static_cast<int64_t>(least(greatest(left, 0), static_cast<double>(size.width))),
          static_cast<int64_t>(least(greatest(right, -1), static_cast<double>(size.width - 1))),
          static_cast<int64_t>(least(greatest(top, 0), static_cast<double>(size.height))),
          static_cast<int64_t>(least(greatest(bottom, -1), static_cast<double>(size.height - 1)))};
}

inline ImageSize check_mesh(const Tensor& vertices, const Tensor& faces, const Tensor& image_from_world, int64_t height,
                            int64_t width) {
  check_points(vertices);
  check_cameras(image_from_world);
  STD_TORCH_CHECK(faces.dim() == 2 && faces.size(1) == 3 && faces.scalar_type() == ScalarType::Long,
                  "faces must be (F, 3) int64");
  constexpr int64_t kMostPixels = 1 << 28;  // along a side; its numbers are int32
  STD_TORCH_CHECK(0 < height && height <= kMostPixels && 0 < width && width <= kMostPixels, "an image of ", width,
                  " x ", height);
  return {width, height};
}
}  // namespace geoguide3d
