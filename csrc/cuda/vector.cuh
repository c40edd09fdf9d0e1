// Loads of 16 bytes, and sums over a warp.
#pragma once
#include <cstdint>

#include "launch.cuh"

namespace geoguide3d {

// As many T as fit 16 bytes, moved by one instruction.
template <typename T>
struct alignas(16) Pack {
  static constexpr int kCount = 16 / sizeof(T);
  T values[kCount];
};

// Whether rows of C elements at this address can be read as packs.
template <typename T>
bool fits_packs(const T* data, int64_t C) {
  return reinterpret_cast<uintptr_t>(data) % 16 == 0 && C % Pack<T>::kCount == 0;
}

template <typename T>
__device__ inline Pack<T> load_pack(const T* address) {
  return *reinterpret_cast<const Pack<T>*>(address);
}

template <typename T>
__device__ inline void store_pack(T* address, const Pack<T>& pack) {
  *reinterpret_cast<Pack<T>*>(address) = pack;
}

// The sum over the warp, in every lane; all lanes must take part.
template <typename A>
__device__ inline A warp_sum(A value) {
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) value += __shfl_xor_sync(0xffffffffu, value, lanes);
  return value;
}
}  // namespace geoguide3d
