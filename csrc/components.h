// Joins the components of a graph along sorted edges, on the host; both devices end here.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "edge_weight.h"

namespace geoguide3d {

struct Edge {
  int32_t key;  // sort_key of the weight
  int32_t a, b;
};

// Union-find by size with path halving.
class Components {
 public:
  Components(int64_t N, float k) : parents_(N, -1), thresholds_(N, k), k_(k) {}

  int32_t root_of(int32_t point) {
    while (parents_[point] >= 0) {
      const int32_t above = parents_[parents_[point]];
      if (above < 0) return parents_[point];
      parents_[point] = above;
      point = above;
    }
    return point;
  }
  int32_t size(int32_t root) const { return -parents_[root]; }
  int64_t count() const { return static_cast<int64_t>(parents_.size()); }

  // No edge above this joins anything in the first walk: a threshold is at most 2k - k / size. That holds for one
  // point. Of two components joined, one has at most half of the s points; the weight was at most its threshold, 2k -
  // 2k / s, and k / s is added. The rest of the 2.5 is for rounding.
  float highest_threshold() const { return 2.5f * k_; }

  // The first walk of felzenszwalb.h over edges in the order of their weights. Moves those that it refuses to the
  // front, in their order, and returns how many there are: of all others both ends are one component now.
  int64_t join_alike(Edge* edges, int64_t E) {
    int64_t refused = 0;
    for (int64_t e = 0; e < E; ++e) {
      const int32_t a = root_of(edges[e].a), b = root_of(edges[e].b);
      if (a == b) continue;
      const float weight = weight_of_key(edges[e].key);
      if (weight <= thresholds_[a] && weight <= thresholds_[b]) {
        const int32_t root = join(a, b);
        thresholds_[root] = weight + k_ / static_cast<float>(size(root));
      } else {
        edges[refused++] = {edges[e].key, a, b};
      }
    }
    return refused;
  }

  // The second walk.
  void join_small(const Edge* edges, int64_t E, int64_t min_size) {
    for (int64_t e = 0; e < E; ++e) {
      const int32_t a = root_of(edges[e].a), b = root_of(edges[e].b);
      if (a != b && std::min(size(a), size(b)) < min_size) join(a, b);
    }
  }

  void write_labels(int64_t* labels) {
    std::vector<int32_t> label_of_root(count(), -1);
    int32_t next = 0;
    for (int64_t n = 0; n < count(); ++n) {
      int32_t& label = label_of_root[root_of(static_cast<int32_t>(n))];
      if (label < 0) label = next++;
      labels[n] = label;
    }
  }

 private:
  int32_t join(int32_t a, int32_t b) {
    if (size(a) < size(b)) std::swap(a, b);
    parents_[a] += parents_[b];
    parents_[b] = a;
    return a;
  }

  // Apart, because most points are asked for their parents alone.
  std::vector<int32_t> parents_;   // of a root: minus the size of its component
  std::vector<float> thresholds_;  // of roots
  float k_;
};
}  // namespace geoguide3d
