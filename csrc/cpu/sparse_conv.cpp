#include "../sparse_conv.h"

#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <vector>

#include "check_value.h"
#include "convert.h"
#include "radix_sort.h"
#include "row_products.h"

namespace geoguide3d::cpu {
namespace {

using torch::stable::new_empty;
using torch::stable::parallel_for;

constexpr int64_t kTile = 512;  // outputs that a thread takes at a time

// An output and the row that it reads.
struct Pair {
  int32_t row, output;
};

// Pairs of a tap for outputs [first, last), outputs counted from first. Writes last - first + 1 places. Returns their
// number, or -1 where a row is outside [-1, M).
int64_t find_pairs(const int32_t* neighbours, int64_t first, int64_t last, int64_t M, Pair* pairs) {
  int64_t count = 0;
  bool inside = true;
  for (int64_t p = first; p < last; ++p) {
    const int32_t row = neighbours[p];
    pairs[count] = {row, static_cast<int32_t>(p - first)};
    count += row >= 0;
    inside &= row >= -1 && row < M;
  }
  return inside ? count : -1;
}

// Throws what find_pairs saw, in a thread that could not.
void check_rows(const Tensor& neighbours, int64_t M, const std::vector<char>& valid) {
  if (std::all_of(valid.begin(), valid.end(), [](char v) { return v; })) return;
  check_range(neighbours.const_data_ptr<int32_t>(), neighbours.size(0), neighbours.size(1), M, "neighbours", -1);
}

// A contiguous tensor in the type that sums are in, copied only where it is of another.
template <typename T>
class Widened {
  using A = accumulator_t<T>;

 public:
  explicit Widened(const Tensor& tensor) {
    const T* from = tensor.const_data_ptr<T>();
    if constexpr (std::is_same_v<T, A>) {
      data_ = from;
    } else {
      copy_ = make_buffer<A>(tensor.numel());
      parallel_for(0, tensor.numel(), 1 << 16,
                   [&](int64_t first, int64_t last) { convert(from + first, copy_.get() + first, last - first); });
      data_ = copy_.get();
    }
  }
  const A* data() const { return data_; }

 private:
  Buffer<A> copy_;
  const A* data_;
};

// (K, panels, C, kPanel): the columns that add_products takes, zeros beyond D.
template <typename T, typename A = accumulator_t<T>>
Buffer<A> pack_weight(const Tensor& weight) {
  const int64_t D = weight.size(0), K = weight.size(1), C = weight.size(2), panels = ceil_divide(D, kPanel<A>);
  const T* data = weight.const_data_ptr<T>();
  const int64_t by_d = weight.stride(0), by_k = weight.stride(1), by_c = weight.stride(2);
  Buffer<A> packed = make_buffer<A>(K * panels * C * kPanel<A>);
  parallel_for(0, K * panels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t first = item % panels * kPanel<A>, width = std::min(kPanel<A>, D - first);
      const T* in = data + item / panels * by_k + first * by_d;
      A* out = packed.get() + item * C * kPanel<A>;
      for (int64_t c = 0; c < C; ++c)
        for (int64_t d = 0; d < kPanel<A>; ++d)
          out[c * kPanel<A> + d] = d < width ? static_cast<A>(in[c * by_c + d * by_d]) : A{0};
    }
  });
  return packed;
}

template <typename T, typename A = accumulator_t<T>>
struct Convolution {
  const A* features;
  const A* weight;  // packed
  const T* bias;    // null: 0
  const int32_t* neighbours;
  T* out;
  int64_t M, C, D, K, P;

  int64_t panels() const { return ceil_divide(D, kPanel<A>); }

  // Outputs [first, last) of panels [begin, end). Returns false, and writes nothing, where a row is out of range. The
  // outputs of a panel stay in cache while all taps are added.
  bool tile(int64_t first, int64_t last, int64_t begin, int64_t end) const {
    std::vector<Pair> pairs(K * (last - first) + 1);
    std::vector<int64_t> offsets(K + 1);
    for (int64_t k = 0; k < K; ++k) {
      const int64_t count = find_pairs(neighbours + k * P, first, last, M, pairs.data() + offsets[k]);
      if (count < 0) return false;
      offsets[k + 1] = offsets[k] + count;
    }
    std::vector<A> sums((last - first + 1) * kPanel<A>), zeros(C);  // the last row takes what fills up groups of rows
    for (int64_t panel = begin; panel < end; ++panel) {
      const int64_t width = std::min(kPanel<A>, D - panel * kPanel<A>);
      for (int64_t p = 0; p <= last - first; ++p)
        for (int64_t d = 0; d < width; ++d)
          sums[p * kPanel<A> + d] = bias ? static_cast<A>(bias[panel * kPanel<A> + d]) : A{0};
      for (int64_t k = 0; k < K; ++k)
        add_tap(pairs.data() + offsets[k], offsets[k + 1] - offsets[k], weight + (k * panels() + panel) * C * kPanel<A>,
                zeros.data(), sums.data(), last - first);
      for (int64_t p = first; p < last; ++p)
        scale(sums.data() + (p - first) * kPanel<A>, A{1}, out + p * D + panel * kPanel<A>, width);
    }
    return true;
  }

  void add_tap(const Pair* pairs, int64_t count, const A* columns, const A* zeros, A* sums, int64_t spare) const {
    const A* rows[kRows];
    A* outputs[kRows];
    constexpr int64_t kAhead = 2 * kRows;  // rows lie anywhere, which no processor foresees
    for (int64_t e = 0; e < count; e += kRows) {
      for (int64_t r = 0; r < kRows; ++r) {
        const bool there = e + r < count;
        rows[r] = there ? features + pairs[e + r].row * C : zeros;
        outputs[r] = sums + (there ? pairs[e + r].output : spare) * kPanel<A>;
        if (e + kAhead + r >= count) continue;
        const A* next = features + pairs[e + kAhead + r].row * C;
        __builtin_prefetch(next);
        __builtin_prefetch(next +
                           std::min<int64_t>(C, 64 / sizeof(A)));  // its second line; others follow of themselves
      }
      add_products(rows, 1, columns, kPanel<A>, C, outputs);
    }
  }
};

Tensor sparse_conv(const Tensor& features, const Tensor& weight, const std::optional<Tensor>& bias,
                   const Tensor& neighbours, const std::optional<Tensor>&) {
  check_weight(features, weight, bias, neighbours);
  const Tensor f = torch::stable::contiguous(features), n = torch::stable::contiguous(neighbours);
  const std::optional<Tensor> b = contiguous(bias);
  const int64_t P = n.size(1), D = weight.size(0);
  const Tensor out = new_empty(f, {P, D});
  with_floating_dtype(f.scalar_type(), "sparse_conv", [&](auto zero) {
    using T = decltype(zero);
    const auto packed = pack_weight<T>(weight);
    const Widened<T> wide(f);
    const Convolution<T> convolution{wide.data(),
                                     packed.get(),
                                     data_or_null<T>(b),
                                     n.const_data_ptr<int32_t>(),
                                     out.mutable_data_ptr<T>(),
                                     f.size(0),
                                     f.size(1),
                                     D,
                                     n.size(0),
                                     P};
    // Few outputs are shared out by their columns, too. Neither division changes a sum.
    const int64_t wanted = 4 * static_cast<int64_t>(torch::stable::get_num_threads());
    const int64_t tiles = ceil_divide(P, kTile), panels = convolution.panels();
    const int64_t shares = std::max<int64_t>(1, std::min(panels, ceil_divide(wanted, std::max<int64_t>(1, tiles))));
    std::vector<char> valid(tiles * shares);
    parallel_for(0, tiles * shares, 1, [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item) {
        const int64_t first = item / shares * kTile, share = item % shares;
        valid[item] =
            convolution.tile(first, std::min(P, first + kTile), panels * share / shares, panels * (share + 1) / shares);
      }
    });
    check_rows(n, f.size(0), valid);
  });
  return out;
}

// The sums of a tap over a part of the outputs. Parts are so small that their rows stay in cache from tap to tap, and
// so few that the sums take little memory; their number depends on sizes alone.
template <typename T, typename A = accumulator_t<T>>
struct WeightGradient {
  const A* features;
  const A* grad;
  const int32_t* neighbours;
  int64_t M, C, D, K, P;

  int64_t columns() const { return ceil_divide(D, kPanel<A>) * kPanel<A>; }
  int64_t channels() const { return ceil_divide(C, kRows) * kRows; }
  int64_t size() const { return channels() * columns(); }  // of the sums of a tap, with what fills up
  int64_t parts() const {
    constexpr int64_t kOutputs = 4 * kTile, kMostSums = 1 << 24;
    return std::max<int64_t>(1, std::min(P / kOutputs, kMostSums / std::max<int64_t>(1, K * size())));
  }

  // Adds to sums (channels, columns), tile by tile: rows of features and gradients side by side, padded with zeros.
  // Returns false where a row is out of range.
  bool add(int64_t k, int64_t part, A* sums) const {
    std::vector<Pair> pairs(kTile + 1);
    std::vector<A> x(kTile * channels()), g(kTile * columns());
    const int64_t end = P * (part + 1) / parts();
    for (int64_t first = P * part / parts(); first < end; first += kTile) {
      const int64_t count = find_pairs(neighbours + k * P, first, std::min(end, first + kTile), M, pairs.data());
      if (count < 0) return false;
      for (int64_t i = 0; i < count; ++i) {
        std::copy_n(features + pairs[i].row * C, C, x.data() + i * channels());
        std::copy_n(grad + (first + pairs[i].output) * D, D, g.data() + i * columns());
      }
      for (int64_t c = 0; c < channels(); c += kRows)
        for (int64_t d = 0; d < columns(); d += kPanel<A>) {
          const A* rows[kRows];
          A* outputs[kRows];
          for (int64_t r = 0; r < kRows; ++r) {
            rows[r] = x.data() + c + r;
            outputs[r] = sums + (c + r) * columns() + d;
          }
          add_products(rows, channels(), g.data() + d, columns(), count, outputs);
        }
    }
    return true;
  }

  // out[d, k, c] = the sum over parts (parts, K, channels, columns), in order.
  void write(int64_t k, const A* partial, T* out) const {
    std::vector<A> sums(size());
    for (int64_t part = 0; part < parts(); ++part)
      for (int64_t i = 0; i < size(); ++i) sums[i] += partial[(part * K + k) * size() + i];
    for (int64_t d = 0; d < D; ++d)
      for (int64_t c = 0; c < C; ++c) out[(d * K + k) * C + c] = static_cast<T>(sums[c * columns() + d]);
  }
};

Tensor sparse_conv_weight_gradient(const Tensor& features, const Tensor& grad, const Tensor& neighbours) {
  check_grad(features, grad, neighbours);
  const Tensor f = torch::stable::contiguous(features), g = torch::stable::contiguous(grad),
               n = torch::stable::contiguous(neighbours);
  const int64_t C = f.size(1), D = g.size(1), K = n.size(0), P = n.size(1);
  const Tensor out = new_empty(f, {D, K, C});
  with_floating_dtype(f.scalar_type(), "sparse_conv_weight_gradient", [&](auto zero) {
    using T = decltype(zero);
    const Widened<T> wide_features(f), wide_grad(g);
    const WeightGradient<T> gradient{
        wide_features.data(), wide_grad.data(), n.const_data_ptr<int32_t>(), f.size(0), C, D, K, P};
    const int64_t items = gradient.parts() * K, size = gradient.size();
    const auto partial = make_buffer<accumulator_t<T>>(items * size);
    std::vector<char> valid(items);
    parallel_for(0, items, 1, [&](int64_t first, int64_t last) {
      std::fill(partial.get() + first * size, partial.get() + last * size, 0);
      for (int64_t item = first; item < last; ++item)
        valid[item] = gradient.add(item % K, item / K, partial.get() + item * size);
    });
    T* const to = out.mutable_data_ptr<T>();
    parallel_for(0, K, 1, [&](int64_t first, int64_t last) {
      for (int64_t k = first; k < last; ++k) gradient.write(k, partial.get(), to);
    });
    check_rows(n, f.size(0), valid);
  });
  return out;
}

}  // namespace
}  // namespace geoguide3d::cpu

STABLE_TORCH_LIBRARY_IMPL(geoguide3d, CPU, m) {
  m.impl("sparse_conv", TORCH_BOX(&geoguide3d::cpu::sparse_conv));
  m.impl("sparse_conv_weight_gradient", TORCH_BOX(&geoguide3d::cpu::sparse_conv_weight_gradient));
}
