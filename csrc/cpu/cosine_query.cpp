#include "../cosine_query.h"

#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <cmath>
#include <tuple>
#include <type_traits>
#include <vector>

#include "convert.h"
#include "dots.h"

namespace geoguide3d::cpu {
namespace {

using torch::stable::new_empty;

// A tile, and the next one that is being fetched, fit the second cache.
constexpr int64_t kTileBytes = 144 * 1024;
constexpr int kMaxTileRows = 16 * kRows;

template <typename T>
struct Features {
  const T* data;
  int64_t N, C, row_stride, column_stride;

  explicit Features(const Tensor& tensor)
      : data(tensor.const_data_ptr<T>()),
        N(tensor.size(0)),
        C(tensor.size(1)),
        row_stride(tensor.stride(0)),
        column_stride(tensor.stride(1)) {}
  const T* row(int64_t n) const { return data + n * row_stride; }
  bool rows_are_dense() const { return column_stride == 1 || C == 1; }
  bool is_contiguous() const { return rows_are_dense() && row_stride == C && C > 0; }
};

// A few consecutive rows that stay in the second cache, seen as padded rows of A: in place where that is what they are,
// else copied when they are first used. The last row stands in for those that are missing in the last three.
template <typename T, typename A>
class Tile {
 public:
  // `kept` rows are kept at a time.
  Tile(const Features<T>& features, int64_t padded, int64_t kept)
      : features_(features),
        padded_(padded),
        kept_(kept),
        in_place_(std::is_same_v<T, A> && features.rows_are_dense() && features.C == padded),
        copy_(in_place_ ? 0 : kept * padded) {}

  void move_to(int64_t first, int64_t count) {
    first_ = first;
    count_ = count;
  }
  int64_t count() const { return count_; }
  int64_t first() const { return first_; }

  void copy_rows(int64_t begin, int64_t end) {
    if (in_place_) return;
    for (int64_t r = begin; r < end; ++r) {
      A* out = copy_.data() + r % kept_ * padded_;
      const T* in = features_.row(first_ + r);
      if (features_.rows_are_dense())
        convert(in, out, features_.C);
      else
        for (int64_t c = 0; c < features_.C; ++c) out[c] = static_cast<A>(in[c * features_.column_stride]);
      std::fill(out + features_.C, out + padded_, A{0});
    }
  }
  void get_rows(int64_t begin, const A** rows) {
    for (int64_t r = 0; r < kRows; ++r) {
      const int64_t n = std::min(begin + r, count_ - 1);
      if constexpr (std::is_same_v<T, A>)
        if (in_place_) {
          rows[r] = features_.row(first_ + n);
          continue;
        }
      rows[r] = copy_.data() + n % kept_ * padded_;
    }
  }
  // What is to be fetched while a block meets the rows at `begin`: its share of the rows that lie there in the next
  // tile.
  Ahead next_rows(int64_t begin, int64_t tile_rows, int64_t block, int64_t blocks) const {
    const int64_t n = first_ + tile_rows + begin;
    if (!features_.is_contiguous() || n + kRows > features_.N)
      return {reinterpret_cast<const char*>(features_.data), 0};
    const int64_t bytes = kRows * features_.C * static_cast<int64_t>(sizeof(T)) / blocks;
    const int64_t lines = padded_ * static_cast<int64_t>(sizeof(A)) / kLine;
    return {reinterpret_cast<const char*>(features_.row(n)) + block * bytes, bytes / lines};
  }

 private:
  Features<T> features_;
  int64_t padded_, kept_, first_ = 0, count_ = 0;
  bool in_place_;
  Buffer<A> copy_;
};

// The scores of a tile's rows with one block of directions; [k][r], so that rows fill the vector registers.
template <typename A>
using TileScores = A[kDirections][kMaxTileRows];

// Both take the scores of a tile, `first` being the number of the block's first direction, and store what they want of
// them for rows n, n + 1, ... of the features. Loops over all places of a tile vectorise; what is in those without a
// row is not stored.
template <typename A>
struct AllScores {
  A *scores, *inverses;
  int64_t K;

  void take(const TileScores<A>& tile, int64_t n, int64_t count, int64_t first) {
    const int64_t width = std::min<int64_t>(kDirections, K - first);
    for (int64_t r = 0; r < count; ++r)
      for (int64_t k = 0; k < width; ++k) scores[(n + r) * K + first + k] = tile[k][r];
  }
  void store(const A* inverse, int64_t n, int64_t count) { std::copy_n(inverse, count, inverses + n); }
};

// Functions of their own with `__restrict`, and a mask instead of a choice of labels, so that GCC vectorises them.
template <typename A, typename Label>
void take_best(A* __restrict best, Label* __restrict label, const A* __restrict scores, Label k) {
  for (int64_t r = 0; r < kMaxTileRows; ++r) {
    const Label greater = -static_cast<Label>(scores[r] > best[r]);
    label[r] = (k & greater) | (label[r] & ~greater);
    best[r] = scores[r] > best[r] ? scores[r] : best[r];
  }
}

template <typename A>
void take_rival(A* __restrict rival, const A* __restrict scores) {
  for (int64_t r = 0; r < kMaxTileRows; ++r)
    rival[r] = !(scores[r] <= rival[r]) & (rival[r] == rival[r]) ? scores[r] : rival[r];
}

template <typename A>
class TopScore {
 public:
  TopScore(const Tensor& labels, const Tensor& best, const Tensor& rival, int64_t K, int64_t P)
      : labels_(labels.mutable_data_ptr<int64_t>()),
        best_(best.mutable_data_ptr<A>()),
        rival_(rival.mutable_data_ptr<A>()),
        K_(K),
        P_(P) {}

  void take(const TileScores<A>& tile, int64_t, int64_t, int64_t first) {
    if (first == 0) {
      std::fill_n(label_, kMaxTileRows, Label{-1});
      std::fill_n(most_, kMaxTileRows, -kInfinity<A>);
      std::fill_n(most_rival_, kMaxTileRows, -kInfinity<A>);
    }
    for (int64_t k = first; k < std::min(first + kDirections, P_); ++k)
      take_best(most_, label_, tile[k - first], static_cast<Label>(k));
    for (int64_t k = std::max(first, P_); k < std::min(first + kDirections, K_); ++k)
      take_rival(most_rival_, tile[k - first]);
  }
  void store(const A*, int64_t n, int64_t count) {
    for (int64_t r = 0; r < count; ++r) {
      labels_[n + r] = label_[r];
      best_[n + r] = label_[r] < 0 ? kNan<A> : most_[r];
      rival_[n + r] = most_rival_[r];
    }
  }

 private:
  using Label = std::conditional_t<sizeof(A) == 4, int32_t, int64_t>;  // as wide as A, so that both fill a register

  int64_t* labels_;
  A *best_, *rival_;
  int64_t K_, P_;
  Label label_[kMaxTileRows];
  A most_[kMaxTileRows], most_rival_[kMaxTileRows];
};

// Turns squared lengths into the inverse lengths of the contract.
template <typename A>
void invert_lengths(A* lengths) {
  for (int64_t r = 0; r < kMaxTileRows; ++r) {
    const A inverse = A{1} / std::max(std::sqrt(lengths[r]), kLeastLength<A>);
    lengths[r] = lengths[r] <= kMost<A> ? inverse : kNan<A>;
  }
}

// A block of directions, which fits the first cache, meets all rows of the tile before the next one does.
template <typename T, typename A, typename Sink>
void score_tile(Tile<T, A>& tile, const Blocks<A>& blocks, int64_t padded, int64_t tile_rows, Sink& sink) {
  const int64_t rounds = std::max<int64_t>(1, blocks.count());
  A inverse[kMaxTileRows] = {};
  TileScores<A> scores = {};
  for (int64_t b = 0; b < rounds; ++b) {
    for (int64_t begin = 0; begin < tile.count(); begin += kRows) {
      const A* rows[kRows];
      if (b == 0) tile.copy_rows(begin, std::min(begin + kRows, tile.count()));
      tile.get_rows(begin, rows);
      if (b == 0) squared_lengths(rows, padded, inverse + begin);
      dot_block(rows, blocks.at(b), blocks.width(b), padded, tile.next_rows(begin, tile_rows, b, rounds), scores,
                begin);
    }
    if (b == 0) invert_lengths(inverse);
    for (auto& of_direction : scores)
      for (int64_t r = 0; r < kMaxTileRows; ++r) of_direction[r] *= inverse[r];
    sink.take(scores, tile.first(), tile.count(), b * kDirections);
  }
  sink.store(inverse, tile.first(), tile.count());
}

template <typename T, typename A, typename Sink>
void score(const Features<T>& features, const A* directions, int64_t K, const Sink& empty_sink) {
  const int64_t N = features.N, C = features.C;
  const int64_t padded = padded_channels<A>(C);
  const int64_t fitting = kTileBytes / std::max<int64_t>(padded * sizeof(A), 1);
  const int64_t tile_rows = std::clamp<int64_t>(fitting, kRows, kMaxTileRows) / kRows * kRows;
  const int64_t tiles = (N + tile_rows - 1) / tile_rows;
  const int64_t tiles_per_thread = std::max<int64_t>(1, 65536 / (tile_rows * (K + 1) * std::max<int64_t>(C, 1)));
  const Blocks<A> blocks(directions, K, C, padded);
  torch::stable::parallel_for(0, tiles, tiles_per_thread, [&](int64_t begin, int64_t end) {
    Sink sink = empty_sink;
    Tile<T, A> tile(features, padded, blocks.count() > 1 ? tile_rows : kRows);
    for (int64_t t = begin; t < end; ++t) {
      tile.move_to(t * tile_rows, std::min(tile_rows, N - t * tile_rows));
      score_tile(tile, blocks, padded, tile_rows, sink);
    }
  });
}

std::tuple<Tensor, Tensor> cosine_scores(const Tensor& features, const Tensor& directions) {
  check_query(features, directions);
  const int64_t N = features.size(0), K = directions.size(0);
  const Tensor d = torch::stable::contiguous(directions);
  const Tensor scores = new_empty(d, {N, K}), inverse = new_empty(d, {N});
  with_feature_dtype(features.scalar_type(), "cosine_scores", [&](auto zero) {
    using T = decltype(zero);
    using A = accumulator_t<T>;
    const AllScores<A> sink{scores.mutable_data_ptr<A>(), inverse.mutable_data_ptr<A>(), K};
    score(Features<T>(features), d.const_data_ptr<A>(), K, sink);
  });
  return {scores, inverse};
}

std::tuple<Tensor, Tensor, Tensor> cosine_top1(const Tensor& features, const Tensor& directions, int64_t P) {
  check_query(features, directions);
  const int64_t N = features.size(0), K = directions.size(0);
  check_positives(P, K);
  const Tensor d = torch::stable::contiguous(directions);
  const Tensor labels = new_empty(d, {N}, ScalarType::Long), best = new_empty(d, {N}), rival = new_empty(d, {N});
  with_feature_dtype(features.scalar_type(), "cosine_top1", [&](auto zero) {
    using T = decltype(zero);
    using A = accumulator_t<T>;
    const TopScore<A> sink(labels, best, rival, K, P);
    score(Features<T>(features), d.const_data_ptr<A>(), K, sink);
  });
  return {labels, best, rival};
}

}  // namespace
}  // namespace geoguide3d::cpu

STABLE_TORCH_LIBRARY_IMPL(geoguide3d, CPU, m) {
  m.impl("cosine_scores", TORCH_BOX(&geoguide3d::cpu::cosine_scores));
  m.impl("cosine_top1", TORCH_BOX(&geoguide3d::cpu::cosine_top1));
}
