// Six rows that lie anywhere times a panel of columns, added to six rows that lie anywhere: a matrix product whose rows
// need not be gathered first.
#pragma once
#include <cstdint>
#include <cstring>

namespace geoguide3d::cpu {

constexpr int64_t kRows = 6;  // with two vectors of columns, 12 sums in the 16 registers of AVX2

template <typename T>
struct Vector {
  static constexpr int64_t kLanes = 32 / sizeof(T);
  typedef T type __attribute__((vector_size(32)));  // GCC and Clang, on every processor

  static type load(const T* from) {
    type vector;
    std::memcpy(&vector, from, sizeof(vector));
    return vector;
  }
  static void store(type vector, T* to) { std::memcpy(to, &vector, sizeof(vector)); }
};

template <typename T>
constexpr int64_t kPanel = 2 * Vector<T>::kLanes;  // columns of a panel

// out[r][j] += sum of rows[r][i * row_step] * panel[i * panel_step + j] over i < count, for j < kPanel.
template <typename T>
inline void add_products(const T* const* rows, int64_t row_step, const T* panel, int64_t panel_step, int64_t count,
                         T* const* out) {
  using V = Vector<T>;
  typename V::type sums[kRows][2] = {};
  const T* row[kRows];
  for (int64_t r = 0; r < kRows; ++r) row[r] = rows[r];
  for (int64_t i = 0; i < count; ++i) {
    const auto left = V::load(panel + i * panel_step), right = V::load(panel + i * panel_step + V::kLanes);
#pragma GCC unroll 6
    for (int64_t r = 0; r < kRows; ++r) {
      sums[r][0] += row[r][i * row_step] * left;
      sums[r][1] += row[r][i * row_step] * right;
    }
  }
#pragma GCC unroll 6
  for (int64_t r = 0; r < kRows; ++r) {
    V::store(V::load(out[r]) + sums[r][0], out[r]);
    V::store(V::load(out[r] + V::kLanes) + sums[r][1], out[r] + V::kLanes);
  }
}
}  // namespace geoguide3d::cpu
