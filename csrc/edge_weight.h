// Arithmetic of mesh normals and edge weights, for both devices: each operation is rounded by itself. Include it last,
// because from here to the end of the file no compiler may fuse a multiplication and an addition.
#pragma once
#include <torch/headeronly/macros/Macros.h>

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__clang__) && !defined(__CUDACC__)
#pragma clang fp contract(off)
#elif !defined(__CUDACC__)
#pragma GCC optimize("fp-contract=off", "no-trapping-math")  // the latter lets loops with comparisons vectorise
#endif

namespace geoguide3d {

#ifdef __CUDACC__
C10_DEVICE inline float plus(float a, float b) {
  return __fadd_rn(a, b);
}
C10_DEVICE inline float minus(float a, float b) {
  return __fsub_rn(a, b);
}
C10_DEVICE inline float times(float a, float b) {
  return __fmul_rn(a, b);
}
C10_DEVICE inline float over(float a, float b) {
  return __fdiv_rn(a, b);
}
C10_DEVICE inline float root(float a) {
  return __fsqrt_rn(a);
}
#else
C10_DEVICE inline float plus(float a, float b) {
  return a + b;
}
C10_DEVICE inline float minus(float a, float b) {
  return a - b;
}
C10_DEVICE inline float times(float a, float b) {
  return a * b;
}
C10_DEVICE inline float over(float a, float b) {
  return a / b;
}
C10_DEVICE inline float root(float a) {
  return __builtin_sqrtf(a);
}
#endif

struct Vector {
  float x, y, z;
};

C10_DEVICE inline Vector difference(Vector a, Vector b) {
  return {minus(a.x, b.x), minus(a.y, b.y), minus(a.z, b.z)};
}

C10_DEVICE inline float dot(Vector a, Vector b) {
  return plus(plus(times(a.x, b.x), times(a.y, b.y)), times(a.z, b.z));
}

C10_DEVICE inline Vector cross(Vector a, Vector b) {
  return {minus(times(a.y, b.z), times(a.z, b.y)), minus(times(a.z, b.x), times(a.x, b.z)),
          minus(times(a.x, b.y), times(a.y, b.x))};
}

C10_DEVICE inline Vector divide(Vector a, float b) {
  return {over(a.x, b), over(a.y, b), over(a.z, b)};
}

// Square roots are left to the callers below, because the CPU takes them for many rows at once.

// The normal of a face, as long as twice its area.
C10_DEVICE inline Vector face_cross(Vector a, Vector b, Vector c) {
  return cross(difference(b, a), difference(c, a));
}

// The unit normal of a face; x is NaN where the face has no area, or none that float32 can hold.
C10_DEVICE inline Vector face_normal(Vector face_cross, float length) {
  const bool has_area = (length > 0.0f) & (length < INFINITY);
  const Vector unit = divide(face_cross, length);
  return {has_area ? unit.x : NAN, unit.y, unit.z};
}

C10_DEVICE inline bool has_area(Vector face_normal) {
  return face_normal.x == face_normal.x;
}

// The mean of `count` unit vectors and one more.
C10_DEVICE inline Vector running_mean(Vector mean, Vector next, float count) {
  const float share = over(1.0f, plus(count, 1.0f)), rest = minus(1.0f, share);
  return {plus(times(share, next.x), times(rest, mean.x)), plus(times(share, next.y), times(rest, mean.y)),
          plus(times(share, next.z), times(rest, mean.z))};
}

// `step` leads from a to b and is `length` long.
C10_DEVICE inline float edge_weight(Vector normal_a, Vector normal_b, Vector step, float length) {
  const float weight = minus(1.0f, dot(normal_a, normal_b)), square = times(weight, weight);
  return dot(normal_b, divide(step, length)) > 0.0f ? square : weight;
}

constexpr int32_t kNoEdge = 0x7fffffff;  // the key of NaN; no other float has it

// Integers in the order of the floats; 0 and -0 are equal.
C10_DEVICE inline int32_t sort_key(float weight) {
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
