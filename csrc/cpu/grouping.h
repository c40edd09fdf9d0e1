// Rows in the order of their segments, and parts of them that threads can take.
#pragma once
#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace geoguide3d {

// Throws, with the first offender, unless 0 <= index[n] < S for all n.
inline void check_index_range(const int64_t* index, int64_t N, int64_t S) {
  bool inside = true;  // no early exit, so that the loop vectorises
  for (int64_t n = 0; n < N; ++n) inside &= static_cast<uint64_t>(index[n]) < static_cast<uint64_t>(S);
  if (inside) return;
  for (int64_t n = 0; n < N; ++n)
    STD_TORCH_CHECK(0 <= index[n] && index[n] < S, "index[", n, "] = ", index[n], " is outside [0, ", S, ")");
}

// The rows of segment s are rows[offsets[s]] ... rows[offsets[s + 1] - 1], ascending.
struct Grouping {
  std::vector<int64_t> rows;
  std::vector<int64_t> offsets;

  int64_t row_count() const { return static_cast<int64_t>(rows.size()); }
  bool is_empty(int64_t s) const { return offsets[s] == offsets[s + 1]; }
  int64_t segment_count() const { return static_cast<int64_t>(offsets.size()) - 1; }
};

// Stable counting sort. Throws where an index is out of range.
inline Grouping group_rows(const int64_t* index, int64_t N, int64_t S) {
  check_index_range(index, N, S);
  Grouping grouping{std::vector<int64_t>(N), std::vector<int64_t>(S + 1)};
  std::vector<int64_t> next(S + 1);
  for (int64_t n = 0; n < N; ++n) ++next[index[n] + 1];
  for (int64_t s = 0; s < S; ++s) next[s + 1] += next[s];
  grouping.offsets = next;
  for (int64_t n = 0; n < N; ++n) grouping.rows[next[index[n]]++] = n;
  return grouping;
}

// Long segments are cut into parts of kPartRows rows, so that one huge segment still keeps all threads busy. The
// results of the parts are combined in order afterwards, so sums do not depend on the number of threads.
constexpr int64_t kPartRows = 1024;

// Positions [first, last) of Grouping::rows, all of one segment.
struct Part {
  int64_t segment, first, last;
  bool opens_segment;  // the first, and mostly the only, part of its segment

  // A number below slot_count(N) that no other part has, among those that do not open their segment.
  int64_t slot() const { return first / kPartRows; }
};

inline int64_t slot_count(int64_t N) {
  return N / kPartRows + 1;
}

// Calls body(part), in order, for the parts that start at positions [begin, end).
template <typename Body>
void for_parts_starting_in(const Grouping& grouping, int64_t begin, int64_t end, Body body) {
  const std::vector<int64_t>& offsets = grouping.offsets;
  int64_t s = std::upper_bound(offsets.begin(), offsets.end(), begin) - offsets.begin() - 1;
  for (; s < grouping.segment_count() && offsets[s] < end; ++s) {
    const int64_t skipped = std::max<int64_t>(0, (begin - offsets[s] + kPartRows - 1) / kPartRows);
    for (int64_t first = offsets[s] + skipped * kPartRows; first < std::min(offsets[s + 1], end); first += kPartRows)
      body(Part{s, first, std::min(first + kPartRows, offsets[s + 1]), first == offsets[s]});
  }
}

// Calls body(part), in order, for the parts that do not open their segment.
template <typename Body>
void for_later_parts(const Grouping& grouping, Body body) {
  const std::vector<int64_t>& offsets = grouping.offsets;
  for (int64_t s = 0; s < grouping.segment_count(); ++s)
    for (int64_t first = offsets[s] + kPartRows; first < offsets[s + 1]; first += kPartRows)
      body(Part{s, first, std::min(first + kPartRows, offsets[s + 1]), false});
}
}  // namespace geoguide3d
