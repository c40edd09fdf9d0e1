// Rows folded into one row per segment (added up, or compared), without atomics and without waiting.
#pragma once
#include <cmath>

#include "grouping.cuh"
#include "vector.cuh"

namespace geoguide3d::cuda {

// The entries of a list are cut into chunks of fixed size. A thread walks the rows of one chunk in a few neighbouring
// columns and writes each segment that lies wholly inside. Of a segment that crosses a border it keeps a partial state:
// in `head` if the segment began in an earlier chunk, else in `tail`. finish_segments merges those in order.
//
// An operation Op has
//   State start()                                  the state before the first row; empty(): a segment without rows
//   Factor factor(n, e)                            what it knows of row n, which is entry e
//   State fold(State state, A value, Factor, at)   the state after one more value; at = s * C + c
//   State merge(State state, State later)          the state of two neighbouring stretches
//   State result(State state)                      what is written
constexpr int kRowsAtOnce = 4;  // loads under way before the first is needed

template <typename State>
struct Chunks {
  State *head, *tail;  // (chunks, C)
  int64_t rows;        // in each chunk
};

// Small enough for many threads, great enough that one huge segment has few partial states to merge. Of E and C alone,
// so that results are the same on every device.
inline int64_t chunk_rows(int64_t E, int64_t C) {
  const auto wanted = std::max(static_cast<int64_t>(std::sqrt(static_cast<double>(E)) / 4), E * C >> 20);
  int64_t rows = 32;
  while (rows < wanted && rows < 4096) rows *= 2;
  return rows;
}

template <int kCount, typename Op, typename T>
__global__ void walk_chunks(Op op, Rows<T> rows, Csr csr, Chunks<typename Op::State> chunks, typename Op::State* out) {
  using A = accumulator_t<T>;
  using State = typename Op::State;
  const int64_t packs = rows.C / kCount, thread = thread_number();
  const int64_t chunk = thread / packs, c = thread % packs * kCount;
  const int64_t first = chunk * chunks.rows;
  if (first >= csr.entries) return;
  const int64_t last = first + chunks.rows < csr.entries ? first + chunks.rows : csr.entries;

  int64_t segment = owner_of(csr, first), end = csr.offsets[segment + 1];
  bool began_here = first == csr.offsets[segment];
  State state[kCount];
  const auto start = [&] {
    for (int i = 0; i < kCount; ++i) state[i] = op.start();
  };
  const auto put = [&](bool ends_here) {
    State* const partial = began_here ? chunks.tail : chunks.head;
    const bool whole = began_here && ends_here;
    State* const target = whole ? out + segment * rows.C + c : partial + chunk * rows.C + c;
    for (int i = 0; i < kCount; ++i) target[i] = whole ? op.result(state[i]) : state[i];
  };
  start();
  for (int64_t e = first; e < last; e += kRowsAtOnce) {
    Pack<T, kCount> items[kRowsAtOnce];
    int64_t ids[kRowsAtOnce];
#pragma unroll
    for (int k = 0; k < kRowsAtOnce; ++k) {
      if (e + k >= last) break;
      ids[k] = csr.id(e + k);
      items[k] = load_pack<kCount>(rows[ids[k]] + c);
    }
#pragma unroll
    for (int k = 0; k < kRowsAtOnce; ++k) {
      if (e + k >= last) break;
      if (e + k == end) {
        put(true);
        began_here = true;
        const bool next_is_empty = csr.offsets[segment + 2] == end;  // not past the end: e + k belongs to some segment
        segment = next_is_empty ? owner_of(csr, end, segment + 1) : segment + 1;
        end = csr.offsets[segment + 1];
        start();
      }
      const auto factor = op.factor(ids[k], e + k);
      for (int i = 0; i < kCount; ++i)
        state[i] = op.fold(state[i], static_cast<A>(items[k].values[i]), factor, segment * rows.C + c + i);
    }
  }
  put(last == end);
}

// Writes the segments that no thread of walk_chunks has written: empty ones, and those that cross a border.
template <typename Op>
__global__ void finish_segments(Op op, Csr csr, Chunks<typename Op::State> chunks, typename Op::State* out, int64_t C) {
  const int64_t thread = thread_number(), s = thread / C, c = thread % C;
  if (s >= csr.owners) return;
  const int64_t begin = csr.offsets[s], end = csr.offsets[s + 1];
  if (begin == end) {
    out[s * C + c] = op.empty();
    return;
  }
  const int64_t first_chunk = begin / chunks.rows, last_chunk = (end - 1) / chunks.rows;
  if (first_chunk == last_chunk) return;
  typename Op::State state = chunks.tail[first_chunk * C + c];
#pragma unroll 8
  for (int64_t chunk = first_chunk + 1; chunk <= last_chunk; ++chunk)
    state = op.merge(state, chunks.head[chunk * C + c]);
  out[s * C + c] = op.result(state);
}

// out (S, C) = the fold of all rows of each segment. csr.offsets is not null.
template <typename Op, typename T>
void fold_segments(const Op& op, const Rows<T>& rows, const Csr& csr, const Tensor& out, cudaStream_t stream) {
  using State = typename Op::State;
  const int64_t E = csr.entries, C = rows.C, length = chunk_rows(E, C), count = (E + length - 1) / length;
  if (csr.owners == 0 || C == 0) return;
  const Tensor partial = torch::stable::new_empty(out, {2 * count, C});
  State *const head = partial.mutable_data_ptr<State>(), *const all = out.mutable_data_ptr<State>();
  const Chunks<State> chunks{head, head + count * C, length};
  constexpr int kCount = Pack<T>::kCount;
  if (E > 0) {
    if (fits_packs(rows.data, rows.stride) && C % kCount == 0)
      walk_chunks<kCount><<<blocks_for(count * (C / kCount)), kThreads, 0, stream>>>(op, rows, csr, chunks, all);
    else
      walk_chunks<1><<<blocks_for(count * C), kThreads, 0, stream>>>(op, rows, csr, chunks, all);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }
  finish_segments<<<blocks_for(csr.owners * C), kThreads, 0, stream>>>(op, csr, chunks, all, C);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
}

// One warp per row.
__device__ inline int64_t row_of_warp() {
  return thread_number() / kWarp;
}
__device__ inline int lane() {
  return threadIdx.x % kWarp;
}
inline unsigned blocks_for_rows(int64_t N) {
  return blocks_for(N * kWarp);
}
}  // namespace geoguide3d::cuda
