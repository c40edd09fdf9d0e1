// Both forms of gram_mse take their rows from here, and pass their gradients through the division by row lengths.
#pragma once
#include <cstdint>
#include <type_traits>

#include "../gram_mse.h"
#include "convert.h"
#include "row_math.h"

namespace geoguide3d::cpu {

// By the two inputs, null where not wanted.
template <typename Out>
using Gradients = std::array<Out*, 2>;

// The inputs side by side: row n is [geometric[n], semantic[n]], each divided by its length where `normalize` is set.
class GramRows {
 public:
  GramRows(const Tensor& geometric, const Tensor& semantic, bool normalize)
      : sides_{torch::stable::contiguous(geometric), torch::stable::contiguous(semantic)},
        normalize_(normalize),
        count_(geometric.size(0)),
        columns_{geometric.size(1), semantic.size(1)} {}

  int64_t count() const { return count_; }
  int64_t columns(int s) const { return columns_[s]; }
  int64_t start(int s) const { return s == 0 ? 0 : columns(0); }
  int64_t width() const { return columns(0) + columns(1); }
  torch::stable::Device device() const { return sides_[0].device(); }
  Tensor empty(int64_t rows, int64_t columns, ScalarType dtype) const {
    return torch::stable::new_empty(sides_[0], {rows, columns}, dtype);
  }
  Tensor zeros(int64_t rows, int64_t columns, ScalarType dtype) const {
    return torch::stable::new_zeros(sides_[0], {rows, columns}, dtype);
  }

  // Rows first ... first + rows - 1 into x (rows, width), what they were multiplied by into inverse (rows, 2).
  template <typename A>
  void load(int64_t first, int64_t rows, A* x, A* inverse) const {
    for (int64_t n = 0; n < rows; ++n)
      for (int s = 0; s < 2; ++s) inverse[2 * n + s] = load_side(s, first + n, x + n * width() + start(s));
  }

  // Turns derivatives of sum(D^2) / 4, but for the sign, by loaded rows into those of the value by rows of the input.
  template <typename A>
  void finish_gradient(int s, int64_t rows, A* d, const A* x, const A* inverse) const {
    const double N = static_cast<double>(count());
    const A factor = static_cast<A>((s == 0 ? 4 : -4) / (N * N));
    for (int64_t n = 0; n < rows; ++n)
      pass_division(d + n * columns(s), x + n * width() + start(s), inverse[2 * n + s], factor, columns(s));
  }

 private:
  template <typename A>
  A load_side(int s, int64_t n, A* out) const {
    const int64_t C = columns(s);
    A inverse = 1;
    with_floating_dtype(sides_[s].scalar_type(), "gram_mse", [&](auto zero) {
      using T = decltype(zero);
      const T* row = sides_[s].template const_data_ptr<T>() + n * C;
      const A* values = out;
      if constexpr (std::is_same_v<T, A>)
        values = row;
      else if constexpr (std::is_same_v<A, accumulator_t<T>>)
        convert(row, out, C);
      else
        for (int64_t c = 0; c < C; ++c) out[c] = static_cast<A>(static_cast<accumulator_t<T>>(row[c]));
      if (normalize_) inverse = inverse_length(values, C);
      for (int64_t c = 0; c < C; ++c) out[c] = values[c] * inverse;
    });
    return inverse;
  }

  // What only scales an input row has no derivative, unless the row was divided by a constant.
  template <typename A>
  void pass_division(A* __restrict d, const A* __restrict unit, A inverse, A factor, int64_t C) const {
    const A along = normalize_ && !is_clamped(inverse) ? row_dot<A>(d, unit, C) : A{0};
    for (int64_t c = 0; c < C; ++c) d[c] = (d[c] - along * unit[c]) * (inverse * factor);
  }

  std::array<Tensor, 2> sides_;  // contiguous
  bool normalize_;
  int64_t count_;
  std::array<int64_t, 2> columns_;
};
}  // namespace geoguide3d::cpu
