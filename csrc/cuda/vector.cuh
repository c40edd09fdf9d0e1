// Loads of 16 bytes, and sums over a warp.
#pragma once
#include <cstdint>

#include "launch.cuh"

namespace geoguide3d::cuda {

// So many T side by side; unless told otherwise as many as fit 16 bytes, which one instruction moves.
template <typename T, int kElements = 16 / sizeof(T)>
struct alignas(sizeof(T) * kElements) Pack {
  static constexpr int kCount = kElements;
  T values[kElements];
};

// Whether rows this far apart, from this address on, can be read as packs.
template <typename T, int kElements = 16 / sizeof(T)>
bool fits_packs(const T* data, int64_t stride) {
  return reinterpret_cast<uintptr_t>(data) % sizeof(Pack<T, kElements>) == 0 && stride % kElements == 0;
}

template <int kElements = 0, typename T>
__device__ inline auto load_pack(const T* address) {
  return *reinterpret_cast<const Pack<T, kElements ? kElements : 16 / sizeof(T)>*>(address);
}

template <typename T, int kElements>
__device__ inline void store_pack(T* address, const Pack<T, kElements>& pack) {
  *reinterpret_cast<Pack<T, kElements>*>(address) = pack;
}

// The sum over the warp, or over each kLanes neighbours of it, in every lane; all lanes of the warp must take part.
template <int kLanes = kWarp, typename A>
__device__ inline A warp_sum(A value) {
  for (int lanes = kLanes / 2; lanes > 0; lanes /= 2) value += __shfl_xor_sync(0xffffffffu, value, lanes);
  return value;
}
}  // namespace geoguide3d::cuda
