// Takes the edges that are of use out of many, sorted by weight, with as many threads as torch has.
#pragma once
#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "../components.h"

namespace geoguide3d::cpu {

// Edges as they came.
struct GivenEdges {
  const int64_t* points;  // (E, 2)
  const float* weights;
  int64_t count;

  int32_t key(int64_t e) const { return sort_key(weights[e]); }
  int32_t a(int64_t e) const { return static_cast<int32_t>(points[2 * e]); }
  int32_t b(int64_t e) const { return static_cast<int32_t>(points[2 * e + 1]); }
};

struct SortedEdges {
  std::unique_ptr<Edge[]> edges;
  int64_t count;
};

// The highest bits of a key, sign, exponent and two more, choose a bucket; the others are sorted inside it, where all
// fits a near cache.
constexpr int kDigitBits[] = {10, 11};
constexpr int kLowBits = 10 + 11, kBuckets = 1 << (32 - kLowBits);
constexpr int64_t kEdgesPerChunk = 32768;            // fewer are not worth a thread
constexpr int64_t kMostPerChunk = int64_t{1} << 31;  // edges of a chunk are numbered in 32 bits

inline uint32_t bucket_of(int32_t key) {
  return (static_cast<uint32_t>(key) ^ 0x80000000u) >> kLowBits;
}

// Stable; `room` is as long as the bucket.
inline void sort_bucket(Edge* edges, Edge* room, int64_t count) {
  int shift = 0;
  for (const int bits : kDigitBits) {
    std::array<int64_t, 1 << 11> place{};
    const auto digit = [=](const Edge& edge) { return (edge.key >> shift) & ((1 << bits) - 1); };
    for (int64_t e = 0; e < count; ++e) ++place[digit(edges[e])];
    int64_t total = 0;
    for (int64_t& next : place) total += std::exchange(next, total);
    for (int64_t e = 0; e < count; ++e) room[place[digit(edges[e])]++] = edges[e];
    std::swap(edges, room);
    shift += bits;
  }
}

// The edges for which is_wanted(e), by ascending weight, equal ones in the order in which they came. Each chunk of
// edges notes those that it wants, counts them by bucket, and then knows their places.
template <typename Wanted>
SortedEdges select_edges(const GivenEdges& given, Wanted is_wanted) {
  const int64_t threads = torch::stable::get_num_threads();
  const int64_t chunks = std::clamp<int64_t>(given.count / kEdgesPerChunk, 1, threads) + given.count / kMostPerChunk;
  const int64_t chunk_edges = (given.count + chunks - 1) / chunks;
  const auto noted = std::make_unique_for_overwrite<uint32_t[]>(given.count);  // from the first of the chunk
  std::vector<int64_t> places(chunks * kBuckets), begin, wanted(chunks);
  const auto for_chunks = [&](auto body) {
    torch::stable::parallel_for(0, chunks, 1, [&](int64_t first, int64_t last) {
      for (int64_t chunk = first; chunk < last; ++chunk)
        body(chunk, std::min(chunk * chunk_edges, given.count), &places[chunk * kBuckets]);
    });
  };
  for_chunks([&](int64_t chunk, int64_t first, int64_t* count) {
    uint32_t* const notes = noted.get() + first;
    const int64_t edges = std::min(chunk_edges, given.count - first);
    int64_t n = 0;
    for (int64_t e = 0; e < edges; ++e) {
      notes[n] = static_cast<uint32_t>(e);
      n += is_wanted(first + e);  // no branch, which would be a guess
    }
    for (int64_t i = 0; i < n; ++i) ++count[bucket_of(given.key(first + notes[i]))];
    wanted[chunk] = n;
  });
  int64_t total = 0;
  for (int64_t bucket = 0; bucket < kBuckets; ++bucket) {
    begin.push_back(total);
    for (int64_t chunk = 0; chunk < chunks; ++chunk) total += std::exchange(places[chunk * kBuckets + bucket], total);
  }
  begin.push_back(total);
  SortedEdges sorted{std::make_unique_for_overwrite<Edge[]>(total), total};
  for_chunks([&](int64_t chunk, int64_t first, int64_t* place) {
    for (int64_t i = 0; i < wanted[chunk]; ++i) {
      const int64_t e = first + noted[first + i];
      const int32_t key = given.key(e);
      Edge& edge =
          sorted.edges[place[bucket_of(key)]++];  // member by member: GCC copies a whole one by way of the stack
      edge.key = key;
      edge.a = given.a(e);
      edge.b = given.b(e);
    }
  });
  torch::stable::parallel_for(0, kBuckets, 1, [&](int64_t first, int64_t last) {
    std::vector<Edge> room;
    for (int64_t bucket = first; bucket < last; ++bucket) {
      const int64_t count = begin[bucket + 1] - begin[bucket];
      if (count < 2) continue;
      room.resize(std::max<int64_t>(room.size(), count));
      sort_bucket(&sorted.edges[begin[bucket]], room.data(), count);
    }
  });
  return sorted;
}
}  // namespace geoguide3d::cpu
