// Rows folded into one row per segment (added up, or compared), four rows at a time.
#pragma once
#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "../csr_transpose.h"
#include "convert.h"
#include "grouping.h"

namespace geoguide3d::cpu {

// Fewer elements than this are not worth a thread.
inline int64_t rows_per_thread(int64_t C) {
  return std::max<int64_t>(1, 32768 / std::max<int64_t>(C, 1));
}

// `count` elements of a row as A: its own, or converted into `space`.
template <typename T, typename A>
inline const A* as_accumulators(const T* row, A* space, int64_t count) {
  if constexpr (std::is_same_v<T, A>) {
    return row;
  } else {
    convert(row, space, count);
    return space;
  }
}

// An operation Op has
//   A start()                                  the state before the first row
//   A factor(n, e)                             what it knows of row n, which is entry e
//   A fold(A state, A value, A factor, c)      the state after one more value of column c
//   A merge(A state, A later)                  the state of two parts, where fold_segments combines them
// and no branches in them, so that the loops over columns vectorise.

template <int kRows, typename Op, typename A>
inline void fold_columns(const Op& op, A* __restrict state, const A* const (&rows)[kRows], const A (&factor)[kRows],
                         int64_t column, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    A folded = state[i];
    for (int k = 0; k < kRows; ++k) folded = op.fold(folded, rows[k][i], factor[k], column + i);
    state[i] = folded;
  }
}

template <int kRows, typename Op, typename T, typename A>
struct RowsAtOnce {
  static constexpr int64_t kLine = 64 / sizeof(T);
  const T* rows[kRows];
  A factor[kRows];

  RowsAtOnce(const Op& op, const Rows<T>& all, const Csr& csr, int64_t e) {
    for (int k = 0; k < kRows; ++k) {
      const int64_t n = csr.id(e + k);
      rows[k] = all[n];
      factor[k] = op.factor(n, e + k);
    }
  }
  void fold(const Op& op, A* __restrict state, int64_t c, int64_t count) const {
    alignas(64) A space[kRows][kLine];
    const A* values[kRows];
    for (int k = 0; k < kRows; ++k) values[k] = as_accumulators(rows[k] + c, space[k], count);
    fold_columns<kRows>(op, state + c, values, factor, c, count);
  }
};

// Four rows at a time: the state is loaded and stored once for them, and four streams of memory are under way. While
// they are folded the next four are fetched, because each row of a random order is a new place for the hardware's
// prefetcher.
template <typename Op, typename T, typename A>
void fold_rows(const Op& op, A* __restrict state, const Rows<T>& all, const Csr& csr, int64_t first, int64_t last) {
  using Four = RowsAtOnce<4, Op, T, A>;
  constexpr int64_t kLine = Four::kLine;
  int64_t e = first;
  for (; e + 4 <= last; e += 4) {
    const Four here(op, all, csr, e), next(op, all, csr, std::min(e + 4, last - 4));
    int64_t c = 0;
    for (; c + kLine <= all.C; c += kLine) {
      for (const T* row : next.rows) __builtin_prefetch(row + c, 0, 2);
      here.fold(op, state, c, kLine);
    }
    if (c < all.C) here.fold(op, state, c, all.C - c);
  }
  for (; e < last; ++e) {
    const RowsAtOnce<1, Op, T, A> row(op, all, csr, e);
    for (int64_t c = 0; c < all.C; c += kLine) row.fold(op, state, c, std::min(kLine, all.C - c));
  }
}

// out[s] = the fold of all rows of s, 0 where there are none. `partial` is (slot_count(entries), C), and scratch.
template <typename Op, typename T, typename A>
void fold_segments(const Op& op, const Rows<T>& rows, const Csr& csr, A* partial, A* out) {
  const int64_t C = rows.C;
  for (int64_t s = 0; s < csr.owners; ++s)
    if (csr.begin(s) == csr.end(s)) std::fill_n(out + s * C, C, A{0});
  torch::stable::parallel_for(0, csr.entries, rows_per_thread(C), [&](int64_t begin, int64_t end) {
    for_parts_starting_in(csr, begin, end, [&](const Part& part) {
      A* state = part.opens_segment ? out + part.segment * C : partial + part.slot() * C;
      std::fill_n(state, C, op.start());
      fold_rows(op, state, rows, csr, part.first, part.last);
    });
  });
  for_later_parts(csr, [&](const Part& part) {
    A* state = out + part.segment * C;
    const A* later = partial + part.slot() * C;
    for (int64_t c = 0; c < C; ++c) state[c] = op.merge(state[c], later[c]);
  });
}
}  // namespace geoguide3d::cpu
