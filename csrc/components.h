// Joins the components of a graph along its sorted edges: on the host, for edges sorted on either device.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "edge_weight.h"

namespace geoguide3d {

struct SortedEdge {
  int32_t key;  // sort_key of the weight
  int32_t a, b;
};

// Union-find by size with path halving.
class Components {
 public:
  Components(int64_t N, float k) : nodes_(N, Node{-1, k}) {}

  int32_t root_of(int32_t point) {
    while (nodes_[point].parent >= 0) {
      const int32_t above = nodes_[nodes_[point].parent].parent;
      if (above < 0) return nodes_[point].parent;
      nodes_[point].parent = above;
      point = above;
    }
    return point;
  }
  int32_t size(int32_t root) const { return -nodes_[root].parent; }
  float threshold(int32_t root) const { return nodes_[root].threshold; }

  // Returns the root of both.
  int32_t join(int32_t a, int32_t b) {
    if (size(a) < size(b)) std::swap(a, b);
    nodes_[a].parent += nodes_[b].parent;
    nodes_[b].parent = a;
    return a;
  }
  void set_threshold(int32_t root, float threshold) { nodes_[root].threshold = threshold; }

 private:
  struct Node {
    int32_t parent;   // of a root: minus the size of its component
    float threshold;  // of a root
  };
  std::vector<Node> nodes_;
};

// Writes the labels of felzenszwalb.h. `edges` are sorted, without NaN, and are overwritten.
//
// The second walk needs only the edges that the first has refused: of all others both ends are one component already.
inline void join_components(SortedEdge* edges, int64_t E, int64_t N, float k, int64_t min_size, int64_t* labels) {
  Components components(N, k);
  int64_t refused = 0;
  for (int64_t e = 0; e < E; ++e) {
    const int32_t a = components.root_of(edges[e].a), b = components.root_of(edges[e].b);
    if (a == b) continue;
    const float weight = weight_of_key(edges[e].key);
    if (weight <= components.threshold(a) && weight <= components.threshold(b)) {
      const int32_t root = components.join(a, b);
      components.set_threshold(root, weight + k / static_cast<float>(components.size(root)));
    } else {
      edges[refused++] = {edges[e].key, a, b};
    }
  }
  for (int64_t e = 0; e < refused; ++e) {
    const int32_t a = components.root_of(edges[e].a), b = components.root_of(edges[e].b);
    if (a != b && std::min(components.size(a), components.size(b)) < min_size) components.join(a, b);
  }
  std::vector<int32_t> label_of_root(N, -1);
  int32_t count = 0;
  for (int64_t n = 0; n < N; ++n) {
    int32_t& label = label_of_root[components.root_of(static_cast<int32_t>(n))];
    if (label < 0) label = count++;
    labels[n] = label;
  }
}
}  // namespace geoguide3d
