// Arithmetic of mesh normals and edge weights, for both devices: each operation is rounded by itself. Include it last,
// because from here to the end of the file no compiler may fuse a multiplication and an addition.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#define GEOGUIDE3D_INLINE __device__ inline
#elif defined(__clang__)
#pragma clang fp contract(off)
#define GEOGUIDE3D_INLINE inline
#else
// Without errno, which no square root of a sum of squares sets, GCC vectorises loops over them.
#pragma GCC optimize("fp-contract=off", "no-math-errno", "no-trapping-math")
#define GEOGUIDE3D_INLINE inline
#endif

namespace geoguide3d {

#ifdef __CUDACC__
GEOGUIDE3D_INLINE float plus(float a, float b) {
  return __fadd_rn(a, b);
}
GEOGUIDE3D_INLINE float minus(float a, float b) {
  return __fsub_rn(a, b);
}
GEOGUIDE3D_INLINE float times(float a, float b) {
  return __fmul_rn(a, b);
}
GEOGUIDE3D_INLINE float over(float a, float b) {
  return __fdiv_rn(a, b);
}
GEOGUIDE3D_INLINE float root(float a) {
  return __fsqrt_rn(a);
}
#else
GEOGUIDE3D_INLINE float plus(float a, float b) {
  return a + b;
}
GEOGUIDE3D_INLINE float minus(float a, float b) {
  return a - b;
}
GEOGUIDE3D_INLINE float times(float a, float b) {
  return a * b;
}
GEOGUIDE3D_INLINE float over(float a, float b) {
  return a / b;
}
GEOGUIDE3D_INLINE float root(float a) {
  return __builtin_sqrtf(a);
}
#endif

struct Vector {
  float x, y, z;
};

GEOGUIDE3D_INLINE Vector difference(Vector a, Vector b) {
  return {minus(a.x, b.x), minus(a.y, b.y), minus(a.z, b.z)};
}

GEOGUIDE3D_INLINE float dot(Vector a, Vector b) {
  return plus(plus(times(a.x, b.x), times(a.y, b.y)), times(a.z, b.z));
}

GEOGUIDE3D_INLINE Vector unit(Vector a) {
  const float length = root(dot(a, a));
  return {over(a.x, length), over(a.y, length), over(a.z, length)};
}

// The unit normal of a face; x is NaN where the face has no area, or none that float32 can hold.
GEOGUIDE3D_INLINE Vector face_normal(Vector a, Vector b, Vector c) {
  const Vector u = difference(b, a), v = difference(c, a);
  const Vector cross = {minus(times(u.y, v.z), times(u.z, v.y)), minus(times(u.z, v.x), times(u.x, v.z)),
                        minus(times(u.x, v.y), times(u.y, v.x))};
  const float length = root(dot(cross, cross));
  const bool has_area = length > 0.0f && length < INFINITY;
  return {has_area ? over(cross.x, length) : NAN, over(cross.y, length), over(cross.z, length)};
}

GEOGUIDE3D_INLINE bool has_area(Vector face_normal) {
  return face_normal.x == face_normal.x;
}

// The mean of `count` unit vectors and one more.
GEOGUIDE3D_INLINE Vector running_mean(Vector mean, Vector next, float count) {
  const float share = over(1.0f, plus(count, 1.0f)), rest = minus(1.0f, share);
  return {plus(times(share, next.x), times(rest, mean.x)), plus(times(share, next.y), times(rest, mean.y)),
          plus(times(share, next.z), times(rest, mean.z))};
}

GEOGUIDE3D_INLINE float edge_weight(Vector point_a, Vector normal_a, Vector point_b, Vector normal_b) {
  const float weight = minus(1.0f, dot(normal_a, normal_b)), square = times(weight, weight);
  return dot(normal_b, unit(difference(point_b, point_a))) > 0.0f ? square : weight;
}

constexpr int32_t kNoEdge = 0x7fffffff;  // the key of NaN; no other float has it

// Integers in the order of the floats; 0 and -0 are equal.
GEOGUIDE3D_INLINE int32_t sort_key(float weight) {
  if (weight != weight) return kNoEdge;
  const float number = plus(weight, 0.0f);  // -0 becomes 0
  int32_t bits;
  memcpy(&bits, &number, sizeof(bits));
  return bits >= 0 ? bits : bits ^ 0x7fffffff;
}

inline float weight_of_key(int32_t key) {
  const int32_t bits = key >= 0 ? key : key ^ 0x7fffffff;
  float weight;
  std::memcpy(&weight, &bits, sizeof(weight));
  return weight;
}
}  // namespace geoguide3d
