#include "../knn.h"

#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <tuple>

#include "kd_tree.cuh"
#include "scan.cuh"

namespace geoguide3d::cuda {
namespace {

using torch::stable::new_empty;
using torch::stable::new_zeros;

constexpr int64_t kAboveAllIds = INT64_MAX;

// M queries, and an order in which those that follow each other are near each other.
template <typename T>
struct Queries {
  const T* places;
  const int64_t* order;
  int64_t M;
};

// Row m has size(m) places from begin(m) on: k each, or those between its offsets.
struct Rows {
  const int64_t* offsets;  // may be null
  int64_t k;
  double* squared;  // scratch
  int64_t* ids;
  float* distances;

  __device__ int64_t begin(int64_t m) const { return offsets ? offsets[m] : m * k; }
  __device__ int64_t size(int64_t m) const { return offsets ? offsets[m + 1] - offsets[m] : k; }
};

// The nearest points so far as a heap with the worst on top, in the memory of their row: no k is too large, and no
// order of arrival is slow.
template <typename T>
class Nearest {
 public:
  __device__ Nearest(const TreeView<T>& tree, const Place& place, double most_squared)
      : tree_(tree), place_(place), bound_(most_squared) {}
  __device__ void write_to(double* squared, int64_t* ids, int64_t capacity) {
    squared_ = squared;
    ids_ = ids;
    capacity_ = capacity;
  }

  __device__ bool admits(double squared, int64_t least_id) const {
    return squared < bound_ || (squared == bound_ && least_id < bound_id_);
  }
  __device__ void visit(int64_t first, int64_t last) {
    for (int64_t p = first; p < last; ++p) {
      const double squared = squared_distance(tree_.places + 3 * p, place_);
      const int64_t id = tree_.ids[p];
      if (admits(squared, id)) add(squared, id);
    }
  }

  // Turns the heap into ascending order.
  __device__ void sort() {
    for (int64_t end = count_ - 1; end > 0; --end) {
      const double squared = squared_[end];
      const int64_t id = ids_[end];
      squared_[end] = squared_[0];
      ids_[end] = ids_[0];
      sink(squared, id, end);
    }
  }

 private:
  const TreeView<T>& tree_;
  const Place place_;
  double bound_;
  int64_t bound_id_ = kAboveAllIds;
  double* squared_ = nullptr;
  int64_t* ids_ = nullptr;
  int64_t capacity_ = 0, count_ = 0;

  __device__ static bool is_before(double squared, int64_t id, double other_squared, int64_t other_id) {
    return squared < other_squared || (squared == other_squared && id < other_id);
  }
  __device__ void put(int64_t place, double squared, int64_t id) {
    squared_[place] = squared;
    ids_[place] = id;
  }

  __device__ void add(double squared, int64_t id) {
    count_ < capacity_ ? rise(squared, id, count_++) : sink(squared, id, capacity_);
    if (count_ < capacity_) return;
    bound_ = squared_[0];
    bound_id_ = ids_[0];
  }

  // Puts a newcomer into the heap of which `place` is the first free place.
  __device__ void rise(double squared, int64_t id, int64_t place) {
    while (place > 0) {
      const int64_t parent = (place - 1) / 2;
      if (!is_before(squared_[parent], ids_[parent], squared, id)) break;
      put(place, squared_[parent], ids_[parent]);
      place = parent;
    }
    put(place, squared, id);
  }

  // Puts a newcomer into the heap of `end` places in place of its top.
  __device__ void sink(double squared, int64_t id, int64_t end) {
    int64_t place = 0;
    for (int64_t child = 1; child < end; child = 2 * place + 1) {
      if (child + 1 < end && is_before(squared_[child], ids_[child], squared_[child + 1], ids_[child + 1])) ++child;
      if (!is_before(squared, id, squared_[child], ids_[child])) break;
      put(place, squared_[child], ids_[child]);
      place = child;
    }
    put(place, squared, id);
  }
};

// A thread for each query: fills its row with the nearest of the points within a distance, nearest first. Rows hold no
// more places than there are such points.
template <typename T>
__global__ void find_nearest(TreeView<T> tree, Queries<T> queries, double most_squared, Rows rows) {
  const int64_t t = thread_number();
  if (t >= queries.M) return;
  const int64_t m = queries.order[t], begin = rows.begin(m), size = rows.size(m);
  if (size == 0) return;
  const Place place = place_of(queries.places + 3 * m);
  Nearest<T> nearest(tree, place, most_squared);
  nearest.write_to(rows.squared + begin, rows.ids + begin, size);
  visit_near_leaves(tree, place, nearest);
  nearest.sort();
  for (int64_t e = begin; e < begin + size; ++e) rows.distances[e] = static_cast<float>(sqrt(rows.squared[e]));
}

template <typename T>
struct Counter {
  const TreeView<T>& tree;
  Place place;
  double most_squared;
  int64_t most, count = 0;

  __device__ bool admits(double squared, uint32_t) const { return squared <= most_squared && count < most; }
  __device__ void visit(int64_t first, int64_t last) {
    for (int64_t p = first; p < last; ++p) count += squared_distance(tree.places + 3 * p, place) <= most_squared;
  }
};

// counts[m] = number of points within a distance of query m, at most `most`.
template <typename T>
__global__ void count_near(TreeView<T> tree, Queries<T> queries, double most_squared, int64_t most, int64_t* counts) {
  const int64_t t = thread_number();
  if (t >= queries.M) return;
  const int64_t m = queries.order[t];
  Counter<T> counter{tree, place_of(queries.places + 3 * m), most_squared, most};
  visit_near_leaves(tree, counter.place, counter);
  counts[m] = counter.count < most ? counter.count : most;
}

// leaves[m] = a leaf near query m.
template <typename T>
__global__ void find_leaves(TreeView<T> tree, const T* places, int64_t M, int64_t* leaves) {
  const int64_t m = thread_number();
  if (m >= M) return;
  const Place place = place_of(places + 3 * m);
  assert(isfinite(place.x) && isfinite(place.y) && isfinite(place.z) && "queries must be finite");
  uint32_t node = 1;
  while (!tree.is_leaf(node)) {
    const bool is_right =
        squared_distance(tree.nodes[2 * node + 1], place) < squared_distance(tree.nodes[2 * node], place);
    node = 2 * node + is_right;
  }
  leaves[m] = node;
}

// Calls body(tree, queries) with those of the contiguous tensors; neither may be empty.
template <typename Body>
void with_tree(const Tensor& points, const std::optional<Tensor>& queries, const char* op, Body body) {
  STD_TORCH_CHECK(points.size(0) < int64_t{1} << 31, op, " takes less than 2^31 points on CUDA, got ", points.size(0));
  with_accumulator_dtype(points.scalar_type(), op, [&](auto zero) {
    using T = decltype(zero);
    const DeviceTree<T> tree(points);
    if (!queries)
      return body(tree.view(), Queries<T>{points.const_data_ptr<T>(), tree.order().template const_data_ptr<int64_t>(),
                                          points.size(0)});
    const int64_t M = queries->size(0);
    const T* places = queries->const_data_ptr<T>();
    const Tensor leaves = new_empty(points, {M}, ScalarType::Long);
    find_leaves<<<blocks_for(M), kThreads, 0, current_stream(points)>>>(tree.view(), places, M,
                                                                        leaves.mutable_data_ptr<int64_t>());
    STD_CUDA_KERNEL_LAUNCH_CHECK();
    const auto [sorted_leaves, order] = stable_sort(leaves);
    body(tree.view(), Queries<T>{places, order.template const_data_ptr<int64_t>(), M});
  });
}

std::tuple<Tensor, Tensor> knn(const Tensor& points, const std::optional<Tensor>& queries, int64_t k) {
  check_places(points, queries);
  check_neighbor_count(k, points.size(0));
  const torch::stable::accelerator::DeviceGuard on_device(points.get_device_index());
  const int64_t M = queries ? queries->size(0) : points.size(0);
  const Tensor ids = new_empty(points, {M, k}, ScalarType::Long);
  const Tensor distances = new_empty(points, {M, k}, ScalarType::Float);
  if (M == 0) return {ids, distances};
  const Tensor squared = new_empty(points, {M, k}, ScalarType::Double);
  const Rows rows{nullptr, k, squared.mutable_data_ptr<double>(), ids.mutable_data_ptr<int64_t>(),
                  distances.mutable_data_ptr<float>()};
  with_tree(torch::stable::contiguous(points), contiguous(queries), "knn", [&](const auto& tree, const auto& places) {
    find_nearest<<<blocks_for(M), kThreads, 0, current_stream(points)>>>(tree, places, INFINITY, rows);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  });
  return {ids, distances};
}

std::tuple<Tensor, Tensor, Tensor> radius(const Tensor& points, const std::optional<Tensor>& queries, double r,
                                          std::optional<int64_t> max_neighbors) {
  check_places(points, queries);
  check_radius(r, max_neighbors);
  const torch::stable::accelerator::DeviceGuard on_device(points.get_device_index());
  const int64_t N = points.size(0), M = queries ? queries->size(0) : N;
  const Tensor counts = new_zeros(points, {M + 1}, ScalarType::Long);
  Tensor offsets = counts, ids = new_empty(counts, {0}), distances = new_empty(points, {0}, ScalarType::Float);
  if (N == 0 || M == 0) return {offsets, ids, distances};
  const cudaStream_t stream = current_stream(points);
  with_tree(torch::stable::contiguous(points), contiguous(queries), "radius",
            [&](const auto& tree, const auto& places) {
              count_near<<<blocks_for(M), kThreads, 0, stream>>>(tree, places, r * r, max_neighbors.value_or(N),
                                                                 counts.mutable_data_ptr<int64_t>() + 1);
              STD_CUDA_KERNEL_LAUNCH_CHECK();
              offsets = running_sums(counts);
              const int64_t* row = offsets.const_data_ptr<int64_t>();
              const int64_t E = read_from_device(row + M, stream);
              ids = new_empty(counts, {E});
              distances = new_empty(points, {E}, ScalarType::Float);
              const Tensor squared = new_empty(points, {E}, ScalarType::Double);
              const Rows rows{row, 0, squared.mutable_data_ptr<double>(), ids.mutable_data_ptr<int64_t>(),
                              distances.mutable_data_ptr<float>()};
              find_nearest<<<blocks_for(M), kThreads, 0, stream>>>(tree, places, r * r, rows);
              STD_CUDA_KERNEL_LAUNCH_CHECK();
            });
  return {offsets, ids, distances};
}

}  // namespace
}  // namespace geoguide3d::cuda

STABLE_TORCH_LIBRARY_IMPL(geoguide3d, CUDA, m) {
  m.impl("knn", TORCH_BOX(&geoguide3d::cuda::knn));
  m.impl("radius", TORCH_BOX(&geoguide3d::cuda::radius));
}
