// Inner products of rows with a few directions, all in registers: what remains of a matrix product that is so narrow
// that the libraries' own leave half of the machine idle (sgemm of (N, 768) x (768, 20): 105 of 180 GFLOP/s).
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace geoguide3d::cpu {

// A vector register of AVX2, or two of NEON. Compilers leave the sums below in memory unless they are told the
// registers.
template <typename A>
struct Lanes {
  static constexpr int64_t kCount = 32 / sizeof(A);
  typedef A Register __attribute__((vector_size(32)));
  typedef A InMemory __attribute__((vector_size(32), aligned(alignof(A)), may_alias));

  static Register load(const A* address) { return *reinterpret_cast<const InMemory*>(address); }
  static A sum(Register lanes) {
    A parts[kCount];
    std::memcpy(parts, &lanes, sizeof(lanes));
    for (int64_t width = kCount / 2; width > 0; width /= 2)
      for (int64_t i = 0; i < width; ++i) parts[i] += parts[i + width];
    return parts[0];
  }
};

// 3 rows × 4 directions are 12 sums: with one register for each row and one for the direction, the 16 of AVX2. Each
// number that is loaded then serves 3 or 4 products, and 12 sums under way hide the latency of an addition.
constexpr int kRows = 3;
constexpr int kDirections = 4;
constexpr int64_t kLine = 64;

// Channels are padded with zeros to whole cache lines, so that no loop has a rest.
template <typename A>
constexpr int64_t padded_channels(int64_t C) {
  constexpr int64_t kMultiple = kLine / sizeof(A);
  return (C + kMultiple - 1) / kMultiple * kMultiple;
}

// Memory that begins with a cache line; loads that cross lines are slower.
template <typename A>
class Buffer {
 public:
  explicit Buffer(int64_t count) : memory_(count * sizeof(A) + kLine) {}
  A* data() {
    return reinterpret_cast<A*>(memory_.data() + kLine - reinterpret_cast<uintptr_t>(memory_.data()) % kLine);
  }

 private:
  std::vector<char> memory_;
};

// K directions of C channels in blocks of kDirections; a block holds a register of each of its directions in turn,
// because one stream is read faster than four. The last block has as many as are left. Padding is zero.
template <typename A>
class Blocks {
 public:
  Blocks(const A* directions, int64_t K, int64_t C, int64_t padded)
      : K_(K), padded_(padded), buffer_(K * padded), begin_(buffer_.data()) {
    constexpr int64_t L = Lanes<A>::kCount;
    for (int64_t k = 0; k < K; ++k) {
      const int64_t block = k / kDirections, in_block = k % kDirections;
      A* out = buffer_.data() + block * kDirections * padded + in_block * L;
      for (int64_t c = 0; c < C; c += L)
        std::copy_n(directions + k * C + c, std::min(L, C - c), out + c * width(block));
    }
  }
  int64_t count() const { return (K_ + kDirections - 1) / kDirections; }
  int64_t width(int64_t block) const { return std::min<int64_t>(kDirections, K_ - block * kDirections); }
  const A* at(int64_t block) const { return begin_ + block * kDirections * padded_; }

 private:
  int64_t K_, padded_;
  Buffer<A> buffer_;
  const A* begin_;
};

// Memory that a loop fetches into the second cache while it computes, so that both are busy at the same time: `step`
// bytes with each line of the rows.
struct Ahead {
  const char* next;
  int64_t step;

  void fetch(int64_t line) const {
    const char* place = next + line * step;
    __builtin_prefetch(place, 0, 2);
    for (int64_t more = kLine; more < step; more += kLine) __builtin_prefetch(place + more, 0, 2);
  }
};

// out[k][at + r] = <rows[r], direction k of the block>. The order of additions is the same for every Width.
template <int Width, int Columns, typename A>
[[gnu::noinline]] void dot(const A* const* rows, const A* block, int64_t padded, const Ahead& ahead, A (*out)[Columns],
                           int64_t at) {
  using L = Lanes<A>;
  constexpr int64_t kPerLine = kLine / sizeof(A);
  typename L::Register sums[kRows][Width];
  for (auto& of_row : sums)
    for (auto& sum : of_row) sum = typename L::Register{};
  for (int64_t line = 0; line < padded / kPerLine; ++line) {
    ahead.fetch(line);
    for (int half = 0; half < 2; ++half, block += Width * L::kCount) {
      const int64_t c = line * kPerLine + half * L::kCount;
      typename L::Register row[kRows];
      for (int r = 0; r < kRows; ++r) row[r] = L::load(rows[r] + c);
      for (int k = 0; k < Width; ++k) {
        const typename L::Register direction = L::load(block + k * L::kCount);
        for (int r = 0; r < kRows; ++r) sums[r][k] += row[r] * direction;
      }
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int k = 0; k < Width; ++k) out[k][at + r] = L::sum(sums[r][k]);
}

template <int Columns, typename A>
void dot_block(const A* const* rows, const A* block, int64_t width, int64_t padded, const Ahead& ahead,
               A (*out)[Columns], int64_t at) {
  if (width == 4) return dot<4>(rows, block, padded, ahead, out, at);
  if (width == 3) return dot<3>(rows, block, padded, ahead, out, at);
  if (width == 2) return dot<2>(rows, block, padded, ahead, out, at);
  if (width == 1) return dot<1>(rows, block, padded, ahead, out, at);
}

// Two sums for each row, because the latency of an addition would show with one.
template <typename A>
[[gnu::noinline]] void squared_lengths(const A* const* rows, int64_t padded, A* out) {
  using L = Lanes<A>;
  typename L::Register even[kRows] = {}, odd[kRows] = {};
  for (int64_t c = 0; c < padded; c += 2 * L::kCount)
    for (int r = 0; r < kRows; ++r) {
      const typename L::Register one = L::load(rows[r] + c), other = L::load(rows[r] + c + L::kCount);
      even[r] += one * one;
      odd[r] += other * other;
    }
  for (int r = 0; r < kRows; ++r) out[r] = L::sum(even[r] + odd[r]);
}
}  // namespace geoguide3d::cpu
