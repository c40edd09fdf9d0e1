// Two compilers, one rounding: without this a product and a sum may become one operation.
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif
#include "../knn.h"

#include <torch/csrc/stable/library.h>

#include <tuple>
#include <vector>

#include "check_value.h"
#include "grouping.h"
#include "nearest.h"

namespace geoguide3d::cpu {
namespace {

using torch::stable::new_empty;

constexpr int64_t kQueriesPerThread = 256;  // fewer are not worth one
constexpr int64_t kQueriesPerBlock = 1024;  // whose neighbours radius keeps together

template <typename T>
void check_finite(const T* values, int64_t count, const char* name) {
  bool finite = true;  // no early exit, so that the loop vectorises
  for (int64_t i = 0; i < count; ++i) finite &= values[i] - values[i] == 0;
  check_value(finite, name, " must be finite");
}

// Queries in an order in which those that follow each other are near each other.
template <typename T>
struct Queries {
  std::vector<int64_t> order;
  const T* places;

  int64_t count() const { return static_cast<int64_t>(order.size()); }
  Place at(int64_t position) const {
    const T* place = places + 3 * order[position];
    return {static_cast<double>(place[0]), static_cast<double>(place[1]), static_cast<double>(place[2])};
  }
};

template <typename T>
int64_t nearest_leaf(const KdTree<T>& tree, const Place& place) {
  Subtree part = tree.root();
  while (part.leaves > 1) {
    const Subtree left = part.left(), right = part.right();
    const bool is_left =
        squared_distance(tree.nodes[left.node], place) <= squared_distance(tree.nodes[right.node], place);
    part = is_left ? left : right;
  }
  return part.first_leaf;
}

template <typename T>
Queries<T> points_as_queries(const KdTree<T>& tree, const T* points) {
  Queries<T> queries{std::vector<int64_t>(tree.N), points};
  for (int64_t n = 0; n < tree.N; ++n) queries.order[n] = tree.leaves[n / kLeaf].id[n % kLeaf];
  return queries;
}

template <typename T>
Queries<T> queries_by_leaf(const KdTree<T>& tree, const T* places, int64_t M) {
  std::vector<int64_t> leaf(M);
  torch::stable::parallel_for(0, M, kQueriesPerThread, [&](int64_t begin, int64_t end) {
    for (int64_t m = begin; m < end; ++m)
      leaf[m] = nearest_leaf(tree, {static_cast<double>(places[3 * m]), static_cast<double>(places[3 * m + 1]),
                                    static_cast<double>(places[3 * m + 2])});
  });
  return {group_rows(leaf.data(), M, std::max<int64_t>(1, tree.root().leaves)).rows, places};
}

// Rows of k in the order of the queries' numbers.
template <typename T>
void find_nearest(const KdTree<T>& tree, const Queries<T>& queries, int64_t k, int64_t* ids, float* distances) {
  torch::stable::parallel_for(0, queries.count(), kQueriesPerThread, [&](int64_t begin, int64_t end) {
    Nearest nearest(k);
    Earlier earlier;
    for (int64_t position = begin; position < end; ++position) {
      const Place place = queries.at(position);
      nearest.search(tree, place, earlier.bound(place));
      const Neighbor* found = nearest.begin();
      earlier.add(place, found[k - 1].squared_distance);
      int64_t* row_ids = ids + queries.order[position] * k;
      float* row_distances = distances + queries.order[position] * k;
      for (int64_t i = 0; i < k; ++i) {
        row_ids[i] = found[i].id;
        row_distances[i] = static_cast<float>(std::sqrt(found[i].squared_distance));
      }
    }
  });
}

// The neighbours of kQueriesPerBlock queries, one after another in the order of search.
using Block = std::vector<Neighbor>;

template <typename T>
std::vector<Block> find_within(const KdTree<T>& tree, const Queries<T>& queries, double r, int64_t most,
                               int64_t* counts) {
  std::vector<Block> blocks((queries.count() + kQueriesPerBlock - 1) / kQueriesPerBlock);
  torch::stable::parallel_for(0, blocks.size(), 1, [&](int64_t first, int64_t last) {
    Nearest nearest(most);
    for (int64_t block = first; block < last; ++block) {
      const int64_t end = std::min(queries.count(), (block + 1) * kQueriesPerBlock);
      for (int64_t position = block * kQueriesPerBlock; position < end; ++position) {
        nearest.search(tree, queries.at(position), r * r);
        counts[queries.order[position]] = nearest.count();
        blocks[block].insert(blocks[block].end(), nearest.begin(), nearest.end());
      }
    }
  });
  return blocks;
}

void write_rows(const std::vector<Block>& blocks, const std::vector<int64_t>& order, const int64_t* offsets,
                int64_t* ids, float* distances) {
  torch::stable::parallel_for(0, blocks.size(), 1, [&](int64_t first, int64_t last) {
    for (int64_t block = first; block < last; ++block) {
      const Neighbor* found = blocks[block].data();
      const int64_t end = std::min<int64_t>(order.size(), (block + 1) * kQueriesPerBlock);
      for (int64_t position = block * kQueriesPerBlock; position < end; ++position) {
        const int64_t m = order[position];
        for (int64_t e = offsets[m]; e < offsets[m + 1]; ++e, ++found) {
          ids[e] = found->id;
          distances[e] = static_cast<float>(std::sqrt(found->squared_distance));
        }
      }
    }
  });
}

// Calls body(tree, queries) with those of the tensors' type.
template <typename Body>
void with_tree(const Tensor& points, const std::optional<Tensor>& queries, const char* op, Body body) {
  const int64_t N = points.size(0);
  STD_TORCH_CHECK(N < int64_t{1} << 32, op, " takes less than 2^32 points, got ", N);
  with_accumulator_dtype(points.scalar_type(), op, [&](auto zero) {
    using T = decltype(zero);
    const T* data = points.const_data_ptr<T>();
    check_finite(data, 3 * N, "points");
    const T* places = queries ? queries->const_data_ptr<T>() : data;
    if (queries) check_finite(places, 3 * queries->size(0), "queries");
    const KdTree<T> tree(data, N);
    body(tree, queries ? queries_by_leaf(tree, places, queries->size(0)) : points_as_queries(tree, data));
  });
}

std::tuple<Tensor, Tensor> knn(const Tensor& points, const std::optional<Tensor>& queries, int64_t k) {
  check_places(points, queries);
  check_neighbor_count(k, points.size(0));
  const int64_t M = queries ? queries->size(0) : points.size(0);
  const Tensor ids = new_empty(points, {M, k}, ScalarType::Long);
  const Tensor distances = new_empty(points, {M, k}, ScalarType::Float);
  with_tree(torch::stable::contiguous(points), contiguous(queries), "knn", [&](const auto& tree, const auto& places) {
    find_nearest(tree, places, k, ids.mutable_data_ptr<int64_t>(), distances.mutable_data_ptr<float>());
  });
  return {ids, distances};
}

std::tuple<Tensor, Tensor, Tensor> radius(const Tensor& points, const std::optional<Tensor>& queries, double r,
                                          std::optional<int64_t> max_neighbors) {
  check_places(points, queries);
  check_radius(r, max_neighbors);
  const int64_t N = points.size(0), M = queries ? queries->size(0) : N;
  const Tensor offsets = torch::stable::new_zeros(points, {M + 1}, ScalarType::Long);
  int64_t* row = offsets.mutable_data_ptr<int64_t>();
  Tensor ids = offsets, distances = offsets;
  with_tree(
      torch::stable::contiguous(points), contiguous(queries), "radius", [&](const auto& tree, const auto& places) {
        const int64_t most = std::max<int64_t>(1, std::min(max_neighbors.value_or(N), N));
        const std::vector<Block> blocks = find_within(tree, places, r, most, row + 1);
        for (int64_t m = 0; m < M; ++m) row[m + 1] += row[m];
        ids = new_empty(points, {row[M]}, ScalarType::Long);
        distances = new_empty(points, {row[M]}, ScalarType::Float);
        write_rows(blocks, places.order, row, ids.mutable_data_ptr<int64_t>(), distances.mutable_data_ptr<float>());
      });
  return {offsets, ids, distances};
}

}  // namespace
}  // namespace geoguide3d::cpu

STABLE_TORCH_LIBRARY_IMPL(geoguide3d, CPU, m) {
  m.impl("knn", TORCH_BOX(&geoguide3d::cpu::knn));
  m.impl("radius", TORCH_BOX(&geoguide3d::cpu::radius));
}
