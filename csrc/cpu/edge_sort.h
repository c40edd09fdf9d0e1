// A stable radix sort of edges by weight, by as many threads as torch has.
#pragma once
#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "../components.h"

namespace geoguide3d {

constexpr int kDigitBits = 11;
constexpr int kDigits = 1 << kDigitBits;
constexpr int64_t kEdgesPerChunk = 32768;  // fewer are not worth a thread

// Edges as they came.
struct GivenEdges {
  const int64_t* edges;
  const float* weights;

  SortedEdge operator[](int64_t e) const {
    return {sort_key(weights[e]), static_cast<int32_t>(edges[2 * e]), static_cast<int32_t>(edges[2 * e + 1])};
  }
};

inline int digit_of(int32_t key, int shift) {
  return static_cast<int>(((static_cast<uint32_t>(key) ^ 0x80000000u) >> shift) & (kDigits - 1));
}

// One pass: writes the edges in the order of one digit, equal digits in the order they had, leaves out those that do
// not exist, and returns how many there are. Each chunk of edges counts its digits, and then knows its places.
template <typename Source>
int64_t sort_by_digit(const Source& source, SortedEdge* sorted, int64_t E, int shift) {
  const int64_t chunks = std::clamp<int64_t>(E / kEdgesPerChunk, 1, torch::stable::get_num_threads());
  const int64_t chunk_edges = (E + chunks - 1) / chunks;
  std::vector<int64_t> place(chunks * kDigits);
  const auto for_edges = [&](auto body) {
    torch::stable::parallel_for(0, chunks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t chunk = begin; chunk < end; ++chunk) {
        const int64_t last = std::min((chunk + 1) * chunk_edges, E);
        for (int64_t e = chunk * chunk_edges; e < last; ++e) {
          const SortedEdge edge = source[e];
          if (edge.key != kNoEdge) body(edge, place[chunk * kDigits + digit_of(edge.key, shift)]);
        }
      }
    });
  };
  for_edges([](const SortedEdge&, int64_t& count) { ++count; });
  int64_t total = 0;
  for (int digit = 0; digit < kDigits; ++digit) {
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      const int64_t count = place[chunk * kDigits + digit];
      place[chunk * kDigits + digit] = total;
      total += count;
    }
  }
  for_edges([&](const SortedEdge& edge, int64_t& next) { sorted[next++] = edge; });
  return total;
}

// Sorts into `sorted`; `scratch` has the same size, E. Returns how many edges exist.
inline int64_t sort_edges(const GivenEdges& given, SortedEdge* sorted, SortedEdge* scratch, int64_t E) {
  E = sort_by_digit(given, sorted, E, 0);
  sort_by_digit(static_cast<const SortedEdge*>(sorted), scratch, E, kDigitBits);
  sort_by_digit(static_cast<const SortedEdge*>(scratch), sorted, E, 2 * kDigitBits);
  return E;
}
}  // namespace geoguide3d
