// Rows of any number of channels, loaded 16 bytes at a time where they are aligned.
#pragma once
#include <torch/csrc/stable/tensor.h>

#include <cstdint>

#include "vector.cuh"

namespace geoguide3d::cuda {

// Rows of a contiguous tensor; row number -1 is 0.
template <typename T>
struct PackedRows {
  const T* data;
  int64_t count, channels;
  bool packed;

  explicit PackedRows(const torch::stable::Tensor& tensor)
      : data(tensor.const_data_ptr<T>()),
        count(tensor.size(0)),
        channels(tensor.size(1)),
        packed(fits_packs(data, channels)) {}

  __device__ void check(int32_t row) const { assert(-1 <= row && row < count && "row out of range"); }

  // Channels c, c + 1, ... of a row, zeros beyond the last.
  __device__ Pack<T> load(int32_t row, int64_t c) const {
    Pack<T> pack = {};
    if (row < 0 || c >= channels) return pack;
    const T* from = data + row * channels + c;
    if (packed) return load_pack(from);
#pragma unroll
    for (int e = 0; e < Pack<T>::kCount; ++e)
      if (c + e < channels) pack.values[e] = from[e];
    return pack;
  }
};
}  // namespace geoguide3d::cuda
