// A warp's part of a matrix product of tiles in shared memory: 16 rows times kColumns columns, summed in registers. On
// tensor cores for half types, with sums in float; by fused multiply-adds for float and double.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <mma.h>

#include <type_traits>

#include "../dtypes.h"
#include "vector.cuh"

namespace geoguide3d::cuda {
constexpr int kWarpRows = 16;
template <typename T>
constexpr int kDepth = 128 / sizeof(T);  // what is summed over, of a tile: its rows are of 128 bytes
template <typename T>
constexpr int kRowPitch = kDepth<T> + Pack<T>::kCount;  // of the left tile; 16 bytes more, so that banks differ
template <typename T, int kColumns>
constexpr int kColumnPitch = kColumns + Pack<T>::kCount;  // of the right tile

// Lane l holds rows l / 8 * 4 ... + 3, and of each 8 packs of columns the one of number l % 8.
template <typename T, int kColumns>
class ScalarProducts {
 public:
  // Adds left (16, depth) times right (depth, kColumns); depth is rounded up to 16, so zeros must follow it.
  __device__ void add(const T* left, const T* right, int depth) {
    const int lane = threadIdx.x % kWarp;
    const T* rows = left + lane / 8 * kRows * kRowPitch<T>;
    const T* columns = right + lane % 8 * kPack;
    for (int k = 0; k < depth; k += kPack) {
      Pack<T> a[kRows];
#pragma unroll
      for (int r = 0; r < kRows; ++r) a[r] = load_pack(rows + r * kRowPitch<T> + k);
#pragma unroll
      for (int e = 0; e < kPack; ++e)
#pragma unroll
        for (int j = 0; j < kPacks; ++j) {
          const Pack<T> b = load_pack(columns + (k + e) * kColumnPitch<T, kColumns> + j * 8 * kPack);
#pragma unroll
          for (int r = 0; r < kRows; ++r)
#pragma unroll
            for (int v = 0; v < kPack; ++v) sums_[r][j][v] += a[r].values[e] * b.values[v];
        }
    }
  }

  // Calls write(row, column, sum) for all of them; the scratch is left alone.
  template <typename Write>
  __device__ void write(T*, Write write) const {
    const int lane = threadIdx.x % kWarp;
#pragma unroll
    for (int r = 0; r < kRows; ++r)
#pragma unroll
      for (int j = 0; j < kPacks; ++j)
#pragma unroll
        for (int v = 0; v < kPack; ++v) write(lane / 8 * kRows + r, (j * 8 + lane % 8) * kPack + v, sums_[r][j][v]);
  }

 private:
  static constexpr int kRows = kWarpRows / 4, kPack = Pack<T>::kCount, kPacks = kColumns / 8 / kPack;
  T sums_[kRows][kPacks][kPack] = {};
};

template <typename T, int kColumns>
class TensorProducts {
 public:
  __device__ TensorProducts() {
#pragma unroll
    for (int j = 0; j < kTiles; ++j) nvcuda::wmma::fill_fragment(sums_[j], 0.0f);
  }

  __device__ void add(const T* left, const T* right, int depth) {
    for (int k = 0; k < depth; k += kSide) {
      Fragment<nvcuda::wmma::matrix_a> a;
      nvcuda::wmma::load_matrix_sync(a, reinterpret_cast<const Element*>(left + k), kRowPitch<T>);
#pragma unroll
      for (int j = 0; j < kTiles; ++j) {
        Fragment<nvcuda::wmma::matrix_b> b;
        const T* tile = right + k * kColumnPitch<T, kColumns> + j * kSide;
        nvcuda::wmma::load_matrix_sync(b, reinterpret_cast<const Element*>(tile), kColumnPitch<T, kColumns>);
        nvcuda::wmma::mma_sync(sums_[j], a, b, sums_[j]);
      }
    }
  }

  // As above; the scratch is the warp's own left tile, which no lane may read any more.
  template <typename Write>
  __device__ void write(T* scratch, Write write) const {
    float* values = reinterpret_cast<float*>(scratch);  // 16 x 16, 1 KiB
    __syncwarp();
#pragma unroll
    for (int j = 0; j < kTiles; ++j) {
      nvcuda::wmma::store_matrix_sync(values, sums_[j], kSide, nvcuda::wmma::mem_row_major);
      __syncwarp();
      for (int i = threadIdx.x % kWarp; i < kSide * kSide; i += kWarp)
        write(i / kSide, j * kSide + i % kSide, values[i]);
      __syncwarp();
    }
  }

 private:
  static constexpr int kSide = 16, kTiles = kColumns / kSide;
  using Element = std::conditional_t<std::is_same_v<T, Half>, __half, __nv_bfloat16>;
  template <typename Use>
  using Fragment = nvcuda::wmma::fragment<Use, kSide, kSide, kSide, Element, nvcuda::wmma::row_major>;
  nvcuda::wmma::fragment<nvcuda::wmma::accumulator, kSide, kSide, kSide, float> sums_[kTiles];
};

template <typename T, int kColumns>
using WarpProducts = std::conditional_t<sizeof(T) == 2, TensorProducts<T, kColumns>, ScalarProducts<T, kColumns>>;
}  // namespace geoguide3d::cuda
