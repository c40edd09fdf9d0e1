// A balanced k-d tree over points in space, and which of its leaves are near.
//
// Each leaf holds kLeaf points side by side, so that their distances fill vector registers; all leaves are full but the
// last. Every node keeps the smallest box around its points, and boxes are cut in half, by count, along their longest
// side: no distribution of points makes the tree deep, and points that coincide are told apart by their ids.
#pragma once
#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

namespace geoguide3d::cpu {
constexpr int64_t kLeaf = 16;
constexpr int kMaxDepth = 40;  // of a tree of less than 2^32 points, with room to spare

struct Place {
  double x, y, z;
};

// The unused places of a leaf hold NaN, from which everything is at a distance of NaN.
template <typename T>
struct Leaf {
  T x[kLeaf], y[kLeaf], z[kLeaf];
  uint32_t id[kLeaf];
};

template <typename T>
struct Node {
  T low[3], high[3];
  uint32_t least_id;
};

// Node and first leaf of a part of the tree, and how many leaves it has. Nodes are numbered in preorder.
struct Subtree {
  uint32_t node, first_leaf, leaves;

  Subtree left() const { return {node + 1, first_leaf, leaves / 2}; }
  Subtree right() const { return {node + 2 * (leaves / 2), first_leaf + leaves / 2, leaves - leaves / 2}; }
};

template <typename T>
struct KdTree {
  std::vector<Node<T>> nodes;
  std::vector<Leaf<T>> leaves;
  int64_t N = 0;

  KdTree(const T* points, int64_t N);
  Subtree root() const { return {0, 0, static_cast<uint32_t>(leaves.size())}; }
  int64_t points_in_leaf(int64_t leaf) const { return std::min(kLeaf, N - leaf * kLeaf); }
};

// Never above the squared distance to a point in the node's box, rounding included: both are the same operations on
// differences of which those to the box are no larger.
template <typename T>
double squared_distance(const Node<T>& node, const Place& to) {
  const double at[3] = {to.x, to.y, to.z};
  double gap[3];
  for (int axis = 0; axis < 3; ++axis) {
    const double low = node.low[axis], high = node.high[axis];
    gap[axis] = std::max(std::max(low - at[axis], at[axis] - high), 0.0);
  }
  return (gap[0] * gap[0] + gap[1] * gap[1]) + gap[2] * gap[2];
}

// A function of its own, because GCC does not vectorise this loop where it sees fit to unroll it.
template <typename T>
[[gnu::noinline]] void squared_distances(const Leaf<T>& __restrict leaf, Place to, double* __restrict out) {
  for (int64_t i = 0; i < kLeaf; ++i) {
    const double dx = leaf.x[i] - to.x, dy = leaf.y[i] - to.y, dz = leaf.z[i] - to.z;
    out[i] = (dx * dx + dy * dy) + dz * dz;
  }
}

// Calls visitor.visit(leaf) for leaves as long as visitor.admits(squared distance, least id) of their box, near ones
// first.
template <typename T, typename Visitor>
void visit_near_leaves(const KdTree<T>& tree, const Place& place, Visitor& visitor) {
  struct Waiting {
    Subtree part;
    uint32_t least_id;
    double distance;
  };
  const auto admits = [&](const Waiting& w) { return visitor.admits(w.distance, w.least_id); };
  const auto measured = [&](const Subtree& part) {
    const Node<T>& node = tree.nodes[part.node];
    return Waiting{part, node.least_id, squared_distance(node, place)};
  };
  Waiting stack[kMaxDepth];
  int waiting = 0;
  if (!tree.leaves.empty()) stack[waiting++] = measured(tree.root());
  while (waiting > 0) {
    Waiting here = stack[--waiting];
    while (admits(here) && here.part.leaves > 1) {
      Waiting near = measured(here.part.left()), far = measured(here.part.right());
      if (far.distance < near.distance || (far.distance == near.distance && far.least_id < near.least_id))
        std::swap(near, far);
      if (admits(far)) stack[waiting++] = far;
      here = near;
    }
    if (admits(here)) visitor.visit(tree.leaves[here.part.first_leaf]);
  }
}

namespace kd_tree {
template <typename T>
struct Item {
  T at[3];
  uint32_t id;
};

template <typename T>
class Builder {
 public:
  Builder(const T* points, KdTree<T>& tree) : tree_(tree), items_(tree.N) {
    torch::stable::parallel_for(0, tree.N, 1 << 14, [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n)
        items_[n] = {{points[3 * n], points[3 * n + 1], points[3 * n + 2]}, static_cast<uint32_t>(n)};
    });
  }

  // Level by level from the root until there is work for all threads.
  void build() {
    constexpr size_t kParts = 64;
    std::vector<Subtree> level{tree_.root()}, above;
    while (level.size() < kParts && level.front().leaves > 1) {
      for_each(level, [&](const Subtree& part) { halve(part); });
      std::vector<Subtree> below;
      for (const Subtree& part : level) {
        below.push_back(part.left());
        below.push_back(part.right());
      }
      above.insert(above.end(), level.begin(), level.end());
      level = std::move(below);
    }
    for_each(level, [&](const Subtree& part) { build(part); });
    for (auto part = above.rbegin(); part != above.rend(); ++part) join(*part);
  }

 private:
  KdTree<T>& tree_;
  std::vector<Item<T>> items_;

  template <typename Body>
  void for_each(const std::vector<Subtree>& parts, Body body) {
    torch::stable::parallel_for(0, parts.size(), 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) body(parts[i]);
    });
  }
  Item<T>* first_item(const Subtree& part) { return items_.data() + part.first_leaf * kLeaf; }
  Item<T>* last_item(const Subtree& part) {
    return items_.data() + std::min(tree_.N, (part.first_leaf + part.leaves) * kLeaf);
  }

  void build(const Subtree& part) {
    halve(part);
    if (part.leaves > 1) {
      build(part.left());
      build(part.right());
    }
    join(part);
  }

  // Boxes the points of a part and brings those of its left half to the front.
  void halve(const Subtree& part) {
    Item<T>*const first = first_item(part), *const last = last_item(part);
    Node<T>& node = tree_.nodes[part.node];
    std::copy_n(first->at, 3, node.low);
    std::copy_n(first->at, 3, node.high);
    for (const Item<T>* item = first; item < last; ++item)
      for (int axis = 0; axis < 3; ++axis) {
        node.low[axis] = std::min(node.low[axis], item->at[axis]);
        node.high[axis] = std::max(node.high[axis], item->at[axis]);
      }
    if (part.leaves == 1) return;
    int longest = 0;
    for (int axis = 1; axis < 3; ++axis)
      if (node.high[axis] - node.low[axis] > node.high[longest] - node.low[longest]) longest = axis;
    std::nth_element(first, first_item(part.right()), last, [longest](const Item<T>& a, const Item<T>& b) {
      return a.at[longest] < b.at[longest] || (a.at[longest] == b.at[longest] && a.id < b.id);
    });
  }

  // Completes a node whose children are complete.
  void join(const Subtree& part) {
    Node<T>& node = tree_.nodes[part.node];
    if (part.leaves > 1) {
      node.least_id = std::min(tree_.nodes[part.left().node].least_id, tree_.nodes[part.right().node].least_id);
      return;
    }
    Leaf<T>& leaf = tree_.leaves[part.first_leaf];
    const Item<T>* const first = first_item(part);
    const int64_t count = last_item(part) - first;
    node.least_id = first->id;
    for (int64_t i = 0; i < kLeaf; ++i) {
      const T nowhere = std::numeric_limits<T>::quiet_NaN();
      leaf.x[i] = i < count ? first[i].at[0] : nowhere;
      leaf.y[i] = i < count ? first[i].at[1] : nowhere;
      leaf.z[i] = i < count ? first[i].at[2] : nowhere;
      leaf.id[i] = i < count ? first[i].id : 0;
      if (i < count) node.least_id = std::min(node.least_id, first[i].id);
    }
  }
};
}  // namespace kd_tree

template <typename T>
KdTree<T>::KdTree(const T* points, int64_t N) : leaves((N + kLeaf - 1) / kLeaf), N(N) {
  if (N == 0) return;
  nodes.resize(2 * leaves.size() - 1);
  kd_tree::Builder<T>(points, *this).build();
}
}  // namespace geoguide3d::cpu
