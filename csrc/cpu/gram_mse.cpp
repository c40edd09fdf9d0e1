#include <torch/csrc/stable/library.h>

#include <tuple>
#include <vector>

#include "../blocks.h"
#include "../gemm.h"
#include "../gram_blocks.h"
#include "gram_rows.h"
#include "items.h"

namespace geoguide3d::cpu {
namespace {

constexpr int64_t kTileRows = 256;      // of D
constexpr int64_t kBlockColumns = 512;  // of T
constexpr int64_t kChunkRows = 2048;    // whose share of T is added up in float64
constexpr int64_t kGradientRows = 512;
constexpr double kFewestDigits = 1e-3;  // a smaller share of its terms, in float32, is computed again in float64

// --- tiled form ------------------------------------------------------------------------------------------------------

// Pairs of a tournament: in each round a tile plays at most once, so that no two threads add to the same rows, and each
// row is added to in the order of the rounds.
std::vector<std::array<int64_t, 2>> pairs_of_round(int64_t round, int64_t count) {
  const int64_t circle = count + count % 2 - 1;
  std::vector<std::array<int64_t, 2>> pairs;
  for (int64_t k = 0; k <= circle / 2; ++k) {
    const int64_t a = k == 0 ? circle : (round + k) % circle, b = (round + circle - k) % circle;
    if (std::max(a, b) < count) pairs.push_back({a, b});
  }
  return pairs;
}

// difference = geometric - difference; returns the sum of its squares.
template <typename A>
double subtract_from(const A* __restrict geometric, A* __restrict difference, int64_t count) {
  double lanes[8] = {}, sum = 0;
  int64_t k = 0;
  for (; k + 8 <= count; k += 8)
    for (int64_t lane = 0; lane < 8; ++lane) {
      difference[k + lane] = geometric[k + lane] - difference[k + lane];
      lanes[lane] += static_cast<double>(difference[k + lane]) * static_cast<double>(difference[k + lane]);
    }
  for (; k < count; ++k) {
    difference[k] = geometric[k] - difference[k];
    sum += static_cast<double>(difference[k]) * static_cast<double>(difference[k]);
  }
  for (const double lane : lanes) sum += lane;
  return sum;
}

template <typename A>
struct TiledForm {
  const GramRows& rows;
  const A* x;                // (N, width)
  Gradients<A> gradients;    // hold zeros
  std::vector<double> sums;  // of squares, of tile (i, j) at i * tiles + j
  using Buffers = Scratch<A, 3>;

  int64_t tiles() const { return divide_up(rows.count(), kTileRows); }
  int64_t size(int64_t tile) const { return std::min(kTileRows, rows.count() - tile * kTileRows); }
  Extent extent(int s, int64_t tile) const { return {size(tile), rows.columns(s)}; }
  const A* data(int s, int64_t tile) const { return x + tile * kTileRows * rows.width() + rows.start(s); }

  void multiply(int s, int64_t i, int64_t j, A* out) const {
    mm_out(block(data(s, i), extent(s, i), rows.width(), rows.device()),
           block_transposed(data(s, j), extent(s, j), rows.width(), rows.device()),
           block(out, {size(i), size(j)}, size(j), rows.device()));
  }

  // Adds a tile of D times the rows of tile `from` to the gradients of tile `to`.
  void add_product(const Tensor& difference, int64_t to, int64_t from, Buffers& buffers) const {
    for (int s = 0; s < 2; ++s) {
      const int64_t C = rows.columns(s), count = size(to) * C;
      if (!gradients[s] || count == 0) continue;
      A* __restrict product = buffers(2, count);
      mm_out(difference, block(data(s, from), extent(s, from), rows.width(), rows.device()),
             block(product, {size(to), C}, C, rows.device()));
      A* __restrict sum = gradients[s] + to * kTileRows * C;
      for (int64_t k = 0; k < count; ++k) sum[k] += product[k];
    }
  }

  void play(int64_t i, int64_t j, Buffers& buffers) {
    const Extent tile{size(i), size(j)};
    const int64_t count = tile.rows * tile.columns;
    A *geometric = buffers(0, count), *difference = buffers(1, count);
    multiply(0, i, j, geometric);
    multiply(1, i, j, difference);
    sums[i * tiles() + j] = (i == j ? 1 : 2) * subtract_from(geometric, difference, count);
    add_product(block(difference, tile, tile.columns, rows.device()), i, j, buffers);
    if (i != j) add_product(block_transposed(difference, tile, tile.columns, rows.device()), j, i, buffers);
  }

  double run() {
    sums.resize(tiles() * tiles());
    for_each_item<A, 3>(tiles(), [&](int64_t tile, Buffers& buffers) { play(tile, tile, buffers); });
    for (int64_t round = 0; round < tiles() + tiles() % 2 - 1; ++round) {
      const auto pairs = pairs_of_round(round, tiles());
      for_each_item<A, 3>(static_cast<int64_t>(pairs.size()),
                          [&](int64_t k, Buffers& buffers) { play(pairs[k][0], pairs[k][1], buffers); });
    }
    double total = 0;
    for (const double sum : sums) total += sum;
    return total;
  }
};

// Returns sum(D^2).
template <typename A>
double run_tiled(const GramRows& rows, const Gradients<A>& gradients) {
  const int64_t N = rows.count(), W = rows.width();
  const Tensor units = rows.empty(N, W, kDtype<A>), factors = rows.empty(N, 2, kDtype<A>);
  A *x = units.mutable_data_ptr<A>(), *inverse = factors.mutable_data_ptr<A>();
  torch::stable::parallel_for(
      0, N, 16, [&](int64_t begin, int64_t end) { rows.load(begin, end - begin, x + begin * W, inverse + 2 * begin); });
  const double total = TiledForm<A>{rows, x, gradients, {}}.run();
  torch::stable::parallel_for(0, N, 16, [&](int64_t n, int64_t end) {
    for (int s = 0; s < 2; ++s)
      if (gradients[s])
        rows.finish_gradient(s, end - n, gradients[s] + n * rows.columns(s), x + n * W, inverse + 2 * n);
  });
  return total;
}

// --- factored form ---------------------------------------------------------------------------------------------------

// T = X^T X, and what follows from it.
template <typename A>
struct FactoredForm {
  const GramRows& rows;
  const int64_t W = rows.width();
  const std::vector<ColumnBlock> blocks = UpperBlocks(W, kBlockColumns).blocks();
  const Tensor sums = rows.zeros(W, W, ScalarType::Double);
  double* const T = sums.mutable_data_ptr<double>();  // in blocks that are not below the diagonal
  using Buffers = Scratch<A, 3>;

  double sign(int64_t column) const { return column < rows.columns(0) ? 1 : -1; }

  void add_chunk(const A* x, int64_t count) const {
    for_each_item<A, 3>(static_cast<int64_t>(blocks.size()), [&](int64_t item, Buffers& buffers) {
      const auto& [row, column, extent] = blocks[item];
      A* product = buffers(0, extent.rows * extent.columns);
      mm_out(block_transposed(x + row, {count, extent.rows}, W, rows.device()),
             block(x + column, {count, extent.columns}, W, rows.device()),
             block(product, extent, extent.columns, rows.device()));
      for (int64_t i = 0; i < extent.rows; ++i)
        for (int64_t j = 0; j < extent.columns; ++j)
          T[(row + i) * W + column + j] += static_cast<double>(product[i * extent.columns + j]);
    });
  }

  void add_all() const {
    const int64_t N = rows.count();
    const Tensor chunk = rows.empty(std::min(N, kChunkRows), W, kDtype<A>);
    A* x = chunk.mutable_data_ptr<A>();
    for (int64_t first = 0; first < N; first += kChunkRows) {
      const int64_t count = std::min(kChunkRows, N - first);
      torch::stable::parallel_for(0, count, 16, [&](int64_t begin, int64_t end) {
        std::vector<A> inverse(2 * (end - begin));
        rows.load(first + begin, end - begin, x + begin * W, inverse.data());
      });
      add_chunk(x, count);
    }
  }

  // {sum(D^2), sum(T^2)}
  std::array<double, 2> sum_squares() const {
    std::vector<std::array<double, 2>> parts(blocks.size());
    for_each_item<A, 3>(static_cast<int64_t>(blocks.size()), [&](int64_t item, Buffers&) {
      const auto& [row, column, extent] = blocks[item];
      const double times = row == column ? 1 : 2;
      const int64_t border = std::clamp(rows.columns(0), column, column + extent.columns);
      for (int64_t i = row; i < row + extent.rows; ++i) {
        const double *begin = T + i * W, geometric = row_dot(begin + column, begin + column, border - column),
                     semantic = row_dot(begin + border, begin + border, column + extent.columns - border);
        parts[item][0] += times * sign(i) * (geometric - semantic);
        parts[item][1] += times * (geometric + semantic);
      }
    });
    std::array<double, 2> total{};
    for (const auto& part : parts)
      for (int k = 0; k < 2; ++k) total[k] += part[k];
    return total;
  }

  // (W, columns) of T, rows of the semantic side negated: X times this is D times the side.
  Tensor signed_columns(int s) const {
    const int64_t C = rows.columns(s), start = rows.start(s);
    const Tensor out = rows.empty(W, C, kDtype<A>);
    A* values = out.mutable_data_ptr<A>();
    const auto put = [&](int64_t i, int64_t j, double value) {
      if (start <= j && j < start + C) values[i * C + j - start] = static_cast<A>(sign(i) * value);
    };
    for_each_item<A, 3>(static_cast<int64_t>(blocks.size()), [&](int64_t item, Buffers&) {
      const auto& [row, column, extent] = blocks[item];
      for (int64_t i = row; i < row + extent.rows; ++i)
        for (int64_t j = column; j < column + extent.columns; ++j) {
          put(i, j, T[i * W + j]);
          if (row != column) put(j, i, T[i * W + j]);
        }
    });
    return out;
  }

  template <typename Out>
  void write_gradient(int s, Out* gradient) const {
    const int64_t N = rows.count(), C = rows.columns(s);
    if (C == 0) return;
    const Tensor columns = signed_columns(s);
    for_each_item<A, 3>(divide_up(N, kGradientRows), [&](int64_t item, Buffers& buffers) {
      const int64_t first = item * kGradientRows, count = std::min(kGradientRows, N - first);
      A *x = buffers(0, count * W), *inverse = buffers(1, 2 * count), *d = buffers(2, count * C);
      rows.load(first, count, x, inverse);
      mm_out(block(x, {count, W}, W, rows.device()), columns, block(d, {count, C}, C, rows.device()));
      rows.finish_gradient(s, count, d, x, inverse);
      for (int64_t k = 0; k < count * C; ++k) gradient[first * C + k] = static_cast<Out>(d[k]);
    });
  }
};

template <typename A, typename Out>
double run_factored(const GramRows& rows, const Gradients<Out>& gradients) {
  const FactoredForm<A> form{rows};
  form.add_all();
  const auto [value, terms] = form.sum_squares();
  if constexpr (std::is_same_v<A, float>)
    if (value < kFewestDigits * terms) return run_factored<double>(rows, gradients);
  for (int s = 0; s < 2; ++s)
    if (gradients[s]) form.write_gradient(s, gradients[s]);
  return std::max(value, 0.0);
}

std::tuple<Tensor, Tensor, Tensor> gram_mse(const Tensor& geometric, const Tensor& semantic, bool normalize,
                                            int64_t form, int64_t wanted) {
  check_gram_inputs(geometric, semantic, form);
  const GramRows rows(geometric, semantic, normalize);
  const int64_t N = rows.count();
  const ScalarType dtype = gram_dtype(geometric, semantic);
  const Tensor value = torch::stable::new_zeros(geometric, {}, dtype);
  const std::array<Tensor, 2> gradients{rows.zeros(wanted & kGradGeometric ? N : 0, rows.columns(0), dtype),
                                        rows.zeros(wanted & kGradSemantic ? N : 0, rows.columns(1), dtype)};
  if (N == 0 || rows.width() == 0) return {value, gradients[0], gradients[1]};
  with_accumulator_dtype(dtype, "gram_mse", [&](auto zero) {
    using A = decltype(zero);
    const Gradients<A> out{wanted & kGradGeometric ? gradients[0].mutable_data_ptr<A>() : nullptr,
                           wanted & kGradSemantic ? gradients[1].mutable_data_ptr<A>() : nullptr};
    const bool tiles = takes_tiles(form, N, rows.width());
    const double total = tiles ? run_tiled<A>(rows, out) : run_factored<A>(rows, out);
    *value.mutable_data_ptr<A>() = static_cast<A>(total / static_cast<double>(N) / static_cast<double>(N));
  });
  return {value, gradients[0], gradients[1]};
}

}  // namespace
}  // namespace geoguide3d::cpu

STABLE_TORCH_LIBRARY_IMPL(geoguide3d, CPU, m) {
  m.impl("gram_mse", TORCH_BOX(&geoguide3d::cpu::gram_mse));
}
