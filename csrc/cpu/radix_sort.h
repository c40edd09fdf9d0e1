// Stable radix sort of 64-bit keys by their lower bits, with threads.
#pragma once
#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace geoguide3d::cpu {

// Memory that is written before it is read: a vector would fill it first.
template <typename T>
using Buffer = std::unique_ptr<T[]>;

template <typename T>
Buffer<T> make_buffer(int64_t count) {
  return std::make_unique_for_overwrite<T[]>(count);
}

// Each part of the entries counts its digits, takes its share of every digit's places, and fills them in order.
template <typename Entry, typename Digit>
void sort_by_digit(const Entry* in, Entry* out, int64_t count, int64_t digits, Digit digit_of) {
  constexpr int64_t kLeastPerPart = 1 << 15;
  const int64_t parts =
      std::max<int64_t>(1, std::min<int64_t>(torch::stable::get_num_threads(), count / kLeastPerPart));
  const auto first = [&](int64_t part) { return count * part / parts; };
  std::vector<int64_t> places(parts * digits);
  const auto for_parts = [&](auto body) {
    torch::stable::parallel_for(0, parts, 1, [&](int64_t begin, int64_t end) {
      for (int64_t part = begin; part < end; ++part) body(part, places.data() + part * digits);
    });
  };
  for_parts([&](int64_t part, int64_t* counts) {
    for (int64_t i = first(part); i < first(part + 1); ++i) ++counts[digit_of(in[i])];
  });
  int64_t place = 0;
  for (int64_t digit = 0; digit < digits; ++digit)
    for (int64_t part = 0; part < parts; ++part) place += std::exchange(places[part * digits + digit], place);
  for_parts([&](int64_t part, int64_t* next) {
    for (int64_t i = first(part); i < first(part + 1); ++i) out[next[digit_of(in[i])]++] = in[i];
  });
}

// Sorts by the lowest bits of key_of(entry), in as few passes as digits of kMostBits allow.
template <typename Entry, typename Key>
void radix_sort(Buffer<Entry>& entries, int64_t count, int bits, Key key_of) {
  constexpr int kMostBits = 11;
  const int passes = (bits + kMostBits - 1) / kMostBits;
  if (passes == 0) return;
  const int width = (bits + passes - 1) / passes;
  const uint64_t mask = (uint64_t{1} << width) - 1;
  Buffer<Entry> other = make_buffer<Entry>(count);
  for (int shift = 0; shift < bits; shift += width) {
    sort_by_digit(entries.get(), other.get(), count, mask + 1,
                  [&](const Entry& entry) { return (key_of(entry) >> shift) & mask; });
    std::swap(entries, other);
  }
}
}  // namespace geoguide3d::cpu
