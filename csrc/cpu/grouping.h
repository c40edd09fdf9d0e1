// Lists of rows per segment: checked, made from ids, and cut into parts that threads can take.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "../csr_transpose.h"
#include "check_value.h"

namespace geoguide3d::cpu {

// Throws, with the first offender, unless the offsets rise from 0 to the number of entries and the ids are below limit.
inline void check_csr(const Csr& csr, int64_t limit) {
  if (csr.offsets) {
    check_value(csr.offsets[0] == 0, "offsets[0] = ", csr.offsets[0], " is not 0");
    for (int64_t k = 0; k < csr.owners; ++k)
      check_value(csr.offsets[k] <= csr.offsets[k + 1], "offsets[", k + 1, "] = ", csr.offsets[k + 1],
                  " is smaller than the one before, ", csr.offsets[k]);
    check_value(csr.offsets[csr.owners] == csr.entries, "offsets end with ", csr.offsets[csr.owners],
                ", but there are ", csr.entries, " entries");
  }
  if (csr.ids) check_range(csr.ids, csr.entries, 1, limit, "index");
}

// The list, checked; it must outlive what is returned.
inline Csr checked(const List& list, int64_t limit) {
  check_csr(list.csr(), limit);
  return list.csr();
}

// Stable counting sort: who has id m stands in owners[offsets[m]] ... owners[offsets[m + 1] - 1], ascending. Writes
// owners (entries,) and offsets (M + 1,); the list was checked.
inline void transpose(const Csr& csr, int64_t M, int64_t* owners, int64_t* offsets) {
  std::fill_n(offsets, M + 1, 0);
  for (int64_t e = 0; e < csr.entries; ++e) ++offsets[csr.id(e) + 1];
  for (int64_t m = 0; m < M; ++m) offsets[m + 1] += offsets[m];
  std::vector<int64_t> next(offsets, offsets + M);
  for (int64_t k = 0; k < csr.owners; ++k)
    for (int64_t e = csr.begin(k); e < csr.end(k); ++e) owners[next[csr.id(e)]++] = k;
}

// The rows of segment s are rows[offsets[s]] ... rows[offsets[s + 1] - 1], ascending.
struct Grouping {
  std::vector<int64_t> rows;
  std::vector<int64_t> offsets;
};

// Throws where an index is out of range.
inline Grouping group_rows(const int64_t* index, int64_t N, int64_t S) {
  check_range(index, N, 1, S, "index");
  Grouping grouping{std::vector<int64_t>(N), std::vector<int64_t>(S + 1)};
  transpose({index, nullptr, N, N}, S, grouping.rows.data(), grouping.offsets.data());
  return grouping;
}

// Long lists are cut into parts of kPartRows entries, so that one huge segment still keeps all threads busy. The
// results of the parts are combined in order afterwards, so they do not depend on the number of threads.
constexpr int64_t kPartRows = 1024;

// Entries [first, last), all of one segment.
struct Part {
  int64_t segment, first, last;
  bool opens_segment;  // the first, and mostly the only, part of its segment

  // A number below slot_count(entries) that no other part has, among those that do not open their segment.
  int64_t slot() const { return first / kPartRows; }
};

inline int64_t slot_count(int64_t entries) {
  return entries / kPartRows + 1;
}

// Calls body(part), in order, for the parts that start at entries [begin, end). csr.offsets is not null.
template <typename Body>
void for_parts_starting_in(const Csr& csr, int64_t begin, int64_t end, Body body) {
  const int64_t* offsets = csr.offsets;
  int64_t s = std::upper_bound(offsets, offsets + csr.owners + 1, begin) - offsets - 1;
  for (; s < csr.owners && offsets[s] < end; ++s) {
    const int64_t skipped = std::max<int64_t>(0, (begin - offsets[s] + kPartRows - 1) / kPartRows);
    for (int64_t first = offsets[s] + skipped * kPartRows; first < std::min(offsets[s + 1], end); first += kPartRows)
      body(Part{s, first, std::min(first + kPartRows, offsets[s + 1]), first == offsets[s]});
  }
}

// Calls body(part), in order, for the parts that do not open their segment.
template <typename Body>
void for_later_parts(const Csr& csr, Body body) {
  const int64_t* offsets = csr.offsets;
  for (int64_t s = 0; s < csr.owners; ++s)
    for (int64_t first = offsets[s] + kPartRows; first < offsets[s + 1]; first += kPartRows)
      body(Part{s, first, std::min(first + kPartRows, offsets[s + 1]), false});
}
}  // namespace geoguide3d::cpu
