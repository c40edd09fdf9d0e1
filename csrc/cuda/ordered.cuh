// Floating point numbers as unsigned integers of the same order, for atomic minima and maxima: on integers they are
// exact and do not depend on who comes first.
#pragma once
#include <cstdint>

#include "launch.cuh"

namespace geoguide3d::cuda {

template <typename T>
struct Ordered;

template <>
struct Ordered<float> {
  using Bits = unsigned int;
  static constexpr Bits kSign = 0x80000000u;
  __device__ static Bits bits(float value) { return __float_as_uint(value); }
  __device__ static float value(Bits bits) { return __uint_as_float(bits); }
};

template <>
struct Ordered<double> {
  using Bits = unsigned long long;
  static constexpr Bits kSign = 0x8000000000000000ull;
  __device__ static Bits bits(double value) { return static_cast<Bits>(__double_as_longlong(value)); }
  __device__ static double value(Bits bits) { return __longlong_as_double(static_cast<long long>(bits)); }
};

template <typename T>
using ordered_t = typename Ordered<T>::Bits;

// Above the ordered bits of every number that is not NaN, and below them is 0.
template <typename T>
constexpr ordered_t<T> kAboveAll = ~ordered_t<T>{0};

template <typename T>
__device__ inline ordered_t<T> to_ordered(T value) {
  const ordered_t<T> bits = Ordered<T>::bits(value);
  return bits & Ordered<T>::kSign ? ~bits : bits | Ordered<T>::kSign;
}

template <typename T>
__device__ inline T from_ordered(ordered_t<T> ordered) {
  return Ordered<T>::value(ordered & Ordered<T>::kSign ? ordered ^ Ordered<T>::kSign : ~ordered);
}

// Least and greatest over `lanes` neighbouring lanes (a power of two), in each of them; all lanes of the warp take
// part.
template <typename Bits>
__device__ inline Bits least_of_lanes(Bits value, int lanes) {
  for (int step = lanes / 2; step > 0; step /= 2) value = min(value, __shfl_xor_sync(0xffffffffu, value, step));
  return value;
}
template <typename Bits>
__device__ inline Bits greatest_of_lanes(Bits value, int lanes) {
  for (int step = lanes / 2; step > 0; step /= 2) value = max(value, __shfl_xor_sync(0xffffffffu, value, step));
  return value;
}
}  // namespace geoguide3d::cuda
