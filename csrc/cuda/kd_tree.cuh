// A balanced k-d tree over points in space, built by sorting level by level; see csrc/cpu/kd_tree.h for the idea.
//
// Leaves are the kLeaf next points in the order of the tree. Nodes are numbered as in a heap, the root 1 and the
// children of n 2n and 2n + 1, over 2^depth leaves; those past the last point are empty. So the part that a place in
// the order belongs to is a shift away, and one stable sort by (part, coordinate on its longest side) cuts a whole
// level.
#pragma once
#include <torch/csrc/stable/ops.h>

#include <utility>

#include "launch.cuh"
#include "ordered.cuh"

namespace geoguide3d::cuda {
constexpr int kLeaf = 16;
constexpr int kMaxDepth = 28;  // 2^31 points in leaves of 16
constexpr uint32_t kNobody = 0xffffffffu;

// The smallest box around the points of a node, and the least of their ids; kNobody where it is empty.
template <typename T>
struct Node {
  ordered_t<T> low[3], high[3];
  uint32_t least_id;

  __device__ double at_low(int axis) const { return static_cast<double>(from_ordered<T>(low[axis])); }
  __device__ double at_high(int axis) const { return static_cast<double>(from_ordered<T>(high[axis])); }
};

// What kernels see: places (N, 3) and ids (N,) in the order of the tree.
template <typename T>
struct TreeView {
  const Node<T>* nodes;
  const T* places;
  const int64_t* ids;
  int64_t N;
  int depth;

  __device__ bool is_leaf(uint32_t node) const { return node >> depth != 0; }
  __device__ int64_t first_of_leaf(uint32_t node) const {
    return static_cast<int64_t>(node - (uint32_t{1} << depth)) * kLeaf;
  }
};

struct Place {
  double x, y, z;
};

template <typename T>
__device__ inline Place place_of(const T* coordinates) {
  return {static_cast<double>(coordinates[0]), static_cast<double>(coordinates[1]),
          static_cast<double>(coordinates[2])};
}

// Every operation rounded for itself, as on the CPU: nothing may fuse a product and a sum.
__device__ inline double squared_length(double x, double y, double z) {
  return __dadd_rn(__dadd_rn(__dmul_rn(x, x), __dmul_rn(y, y)), __dmul_rn(z, z));
}

template <typename T>
__device__ inline double squared_distance(const T* coordinates, const Place& to) {
  const Place from = place_of(coordinates);
  return squared_length(from.x - to.x, from.y - to.y, from.z - to.z);
}

// Never above the squared distance to a point of the node; infinite where the node is empty.
template <typename T>
__device__ inline double squared_distance(const Node<T>& node, const Place& to) {
  if (node.least_id == kNobody) return INFINITY;
  const double at[3] = {to.x, to.y, to.z};
  double gap[3];
  for (int axis = 0; axis < 3; ++axis)
    gap[axis] = fmax(fmax(node.at_low(axis) - at[axis], at[axis] - node.at_high(axis)), 0.0);
  return squared_length(gap[0], gap[1], gap[2]);
}

struct Waiting {
  uint32_t node, least_id;
  double distance;
};

// Calls visitor.visit(first, last) with the positions of leaves for which visitor.admits(squared distance, least id),
// near ones first.
template <typename T, typename Visitor>
__device__ void visit_near_leaves(const TreeView<T>& tree, const Place& place, Visitor& visitor) {
  const auto measured = [&](uint32_t node) {
    return Waiting{node, tree.nodes[node].least_id, squared_distance(tree.nodes[node], place)};
  };
  const auto admits = [&](const Waiting& w) { return w.least_id != kNobody && visitor.admits(w.distance, w.least_id); };
  Waiting stack[kMaxDepth + 1];
  int waiting = 0;
  stack[waiting++] = measured(1);
  while (waiting > 0) {
    Waiting here = stack[--waiting];
    while (admits(here) && !tree.is_leaf(here.node)) {
      Waiting near = measured(2 * here.node), far = measured(2 * here.node + 1);
      if (far.distance < near.distance || (far.distance == near.distance && far.least_id < near.least_id)) {
        const Waiting swapped = near;
        near = far;
        far = swapped;
      }
      if (admits(far)) stack[waiting++] = far;
      here = near;
    }
    if (!admits(here)) continue;
    const int64_t first = tree.first_of_leaf(here.node);
    visitor.visit(first, first + kLeaf < tree.N ? first + kLeaf : tree.N);
  }
}

namespace kd_tree {
static __global__ void count_up(int64_t* ids, int64_t N) {
  const int64_t n = thread_number();
  if (n < N) ids[n] = n;
}

template <typename T>
__global__ void start_nodes(Node<T>* nodes, int64_t count) {
  const int64_t n = thread_number();
  if (n >= count) return;
  for (int axis = 0; axis < 3; ++axis) {
    nodes[n].low[axis] = kAboveAll<T>;
    nodes[n].high[axis] = 0;
  }
  nodes[n].least_id = kNobody;
}

// The node of position p, `above` levels over the leaves of the tree.
__device__ inline int64_t node_of(int64_t p, int depth, int above) {
  return (int64_t{1} << (depth - above)) + ((p / kLeaf) >> above);
}

// Boxes the nodes of one level. Neighbouring lanes in one node send a message together: kLeaf of them in a leaf, the
// whole warp above the leaves.
template <typename T>
__global__ void box_nodes(const T* points, const int64_t* ids, int64_t N, Node<T>* nodes, int depth, int above) {
  const int64_t p = thread_number();
  const int lanes = above == 0 ? kLeaf : kWarp;
  const bool is_inside = p < N;  // threads past the end take part, with what changes nothing
  const int64_t id = is_inside ? ids[p] : 0;
  Node<T>& node = nodes[is_inside ? node_of(p, depth, above) : 0];
  const bool speaks = is_inside && threadIdx.x % lanes == 0;
  for (int axis = 0; axis < 3; ++axis) {
    const T coordinate = is_inside ? points[3 * id + axis] : T{0};
    assert(isfinite(coordinate) && "points must be finite");
    const ordered_t<T> value = to_ordered(coordinate);
    const ordered_t<T> low = least_of_lanes(is_inside ? value : kAboveAll<T>, lanes);
    const ordered_t<T> high = greatest_of_lanes(is_inside ? value : ordered_t<T>{0}, lanes);
    if (!speaks) continue;
    atomicMin(&node.low[axis], low);
    atomicMax(&node.high[axis], high);
  }
  const uint32_t least_id = least_of_lanes(is_inside ? static_cast<uint32_t>(id) : kNobody, lanes);
  if (speaks) atomicMin(&node.least_id, least_id);
}

// keys[p] = the part that position p belongs to, above the distance from the low end of its longest side. Distances are
// not negative, so the bits of a float are in their order; where two round to the same float, any cut will do.
template <typename T>
__global__ void order_in_nodes(const T* points, const int64_t* ids, int64_t N, const Node<T>* nodes, int depth,
                               int above, int64_t* keys) {
  const int64_t p = thread_number();
  if (p >= N) return;
  const int64_t number = node_of(p, depth, above);
  const Node<T>& node = nodes[number];
  int longest = 0;
  for (int axis = 1; axis < 3; ++axis)
    if (node.at_high(axis) - node.at_low(axis) > node.at_high(longest) - node.at_low(longest)) longest = axis;
  const double along = static_cast<double>(points[3 * ids[p] + longest]) - node.at_low(longest);
  keys[p] = number << 32 | __float_as_uint(static_cast<float>(along));
}

static __global__ void gather_ids(const int64_t* ids, const int64_t* order, int64_t N, int64_t* out) {
  const int64_t p = thread_number();
  if (p < N) out[p] = ids[order[p]];
}

template <typename T>
__global__ void gather_places(const T* points, const int64_t* ids, int64_t N, T* places) {
  const int64_t p = thread_number();
  if (p >= N) return;
  for (int axis = 0; axis < 3; ++axis) places[3 * p + axis] = points[3 * ids[p] + axis];
}
}  // namespace kd_tree

// The tree of contiguous points (N, 3), N >= 1, and the memory behind it.
template <typename T>
class DeviceTree {
 public:
  explicit DeviceTree(const torch::stable::Tensor& points)
      : N_(points.size(0)),
        places_(torch::stable::new_empty(points, {N_, 3})),
        ids_(torch::stable::new_empty(points, {N_}, torch::headeronly::ScalarType::Long)),
        nodes_(ids_) {
    while (int64_t{kLeaf} << depth_ < N_) ++depth_;
    const int64_t nodes = int64_t{2} << depth_;
    nodes_ = torch::stable::new_empty(points, {nodes * static_cast<int64_t>(sizeof(Node<T>))},
                                      torch::headeronly::ScalarType::Byte);
    stream_ = current_stream(points);
    kd_tree::start_nodes<<<blocks_for(nodes), kThreads, 0, stream_>>>(this->nodes(), nodes);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
    kd_tree::count_up<<<blocks_for(N_), kThreads, 0, stream_>>>(ids_.mutable_data_ptr<int64_t>(), N_);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
    const T* data = points.const_data_ptr<T>();
    for (int above = depth_; above >= 0; --above) {
      kd_tree::box_nodes<<<blocks_for(N_), kThreads, 0, stream_>>>(data, ids(), N_, this->nodes(), depth_, above);
      STD_CUDA_KERNEL_LAUNCH_CHECK();
      if (above > 0) sort_level(data, above);
    }
    kd_tree::gather_places<<<blocks_for(N_), kThreads, 0, stream_>>>(data, ids(), N_, places_.mutable_data_ptr<T>());
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }

  TreeView<T> view() const {
    return {reinterpret_cast<const Node<T>*>(nodes_.const_data_ptr<uint8_t>()), places_.const_data_ptr<T>(), ids(), N_,
            depth_};
  }
  // (N,) int64: the points in the order of the tree, in which neighbours are near each other.
  const torch::stable::Tensor& order() const { return ids_; }

 private:
  int64_t N_;
  int depth_ = 0;
  torch::stable::Tensor places_, ids_, nodes_;
  cudaStream_t stream_ = nullptr;

  Node<T>* nodes() { return reinterpret_cast<Node<T>*>(nodes_.mutable_data_ptr<uint8_t>()); }
  const int64_t* ids() const { return ids_.const_data_ptr<int64_t>(); }

  void sort_level(const T* points, int above) {
    const torch::stable::Tensor keys = torch::stable::new_empty(ids_, {N_}),
                                sorted = torch::stable::new_empty(ids_, {N_});
    kd_tree::order_in_nodes<<<blocks_for(N_), kThreads, 0, stream_>>>(points, ids(), N_, nodes(), depth_, above,
                                                                      keys.mutable_data_ptr<int64_t>());
    STD_CUDA_KERNEL_LAUNCH_CHECK();
    const auto [sorted_keys, order] = stable_sort(keys);
    kd_tree::gather_ids<<<blocks_for(N_), kThreads, 0, stream_>>>(ids(), order.template const_data_ptr<int64_t>(), N_,
                                                                  sorted.mutable_data_ptr<int64_t>());
    STD_CUDA_KERNEL_LAUNCH_CHECK();
    ids_ = sorted;
  }
};
}  // namespace geoguide3d::cuda
