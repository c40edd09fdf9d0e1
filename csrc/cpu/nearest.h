// The nearest of the points of a k-d tree's leaves: those within a distance, at most k of them.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "kd_tree.h"

namespace geoguide3d::cpu {

struct Neighbor {
  double squared_distance;
  uint32_t id;

  bool operator<(const Neighbor& other) const {
    return squared_distance < other.squared_distance || (squared_distance == other.squared_distance && id < other.id);
  }
};

// Candidates gather unsorted; when there are too many, the k best stay and the worst of them becomes the bound.
class Nearest {
 public:
  explicit Nearest(int64_t k) : k_(k), most_(2 * k + 4 * kLeaf), found_(std::min<int64_t>(most_, 256)) {}

  template <typename T>
  void search(const KdTree<T>& tree, const Place& place, double most_squared_distance) {
    place_ = place;
    bound_ = {most_squared_distance, std::numeric_limits<uint32_t>::max()};
    count_ = 0;
    visit_near_leaves(tree, place, *this);
    if (count_ > kRanked) keep_best();
    count_ <= kRanked ? sort_by_rank() : std::sort(found_.data(), found_.data() + count_);
    count_ = std::min(count_, k_);
  }
  // What was found, nearest first.
  const Neighbor* begin() const { return found_.data(); }
  const Neighbor* end() const { return found_.data() + count_; }
  int64_t count() const { return count_; }

  bool admits(double squared_distance, uint32_t least_id) const {
    return Neighbor{squared_distance, least_id} < bound_;
  }

  template <typename T>
  void visit(const Leaf<T>& leaf) {
    if (count_ + kLeaf > static_cast<int64_t>(found_.size())) make_room();
    double squared[kLeaf];
    squared_distances(leaf, place_, squared);
    Neighbor* const found = found_.data();
    const double bound = bound_.squared_distance;
    int64_t count = count_;
    for (int64_t i = 0; i < kLeaf; ++i) {  // without a branch: what does not count is overwritten
      found[count] = {squared[i], leaf.id[i]};
      count += squared[i] <= bound;
    }
    count_ = count;
    if (count_ >= k_ && bound == std::numeric_limits<double>::infinity()) keep_best();
  }

 private:
  static constexpr int64_t kRanked = 128;  // above, sorting is faster than ranking
  const int64_t k_, most_;
  int64_t count_ = 0;
  Place place_{};
  Neighbor bound_{};
  std::vector<Neighbor> found_;

  void make_room() {
    const auto room = static_cast<int64_t>(found_.size());
    room < most_ ? found_.resize(std::min(2 * room, most_)) : keep_best();
  }

  void keep_best() {
    if (count_ < k_) return;
    std::nth_element(found_.data(), found_.data() + k_ - 1, found_.data() + count_);
    count_ = k_;
    bound_ = found_[k_ - 1];
  }

  // A neighbour's place is the number of those before it: no branch depends on distances. Ties keep their order, and
  // are put in that of their ids after.
  void sort_by_rank() {
    double squared[kRanked];
    int64_t rank[kRanked] = {};
    Neighbor unsorted[kRanked];
    for (int64_t i = 0; i < count_; ++i) unsorted[i] = found_[i];
    for (int64_t i = 0; i < count_; ++i) squared[i] = unsorted[i].squared_distance;
    for (int64_t j = 1; j < count_; ++j) {
      int64_t greater = 0;
      for (int64_t i = 0; i < j; ++i) {
        const int64_t is_greater = squared[j] < squared[i];
        rank[i] += is_greater;
        greater += is_greater;
      }
      rank[j] = j - greater;
    }
    for (int64_t i = 0; i < count_; ++i) found_[rank[i]] = unsorted[i];
    for (int64_t i = 1; i < count_; ++i)
      for (int64_t j = i; j > 0 && found_[j] < found_[j - 1]; --j) std::swap(found_[j], found_[j - 1]);
  }
};

// Bounds the distance to the k-th neighbour by that of places searched before: no further than to such a place, and
// from there on to its k-th neighbour.
class Earlier {
 public:
  Earlier() { std::fill_n(reach_, kLeaf, std::numeric_limits<double>::infinity()); }

  // Squared, and increased by more than all roundings together.
  double bound(const Place& place) const {
    double squared[kLeaf], sum[kLeaf];
    squared_distances(places_, place, squared);
    for (int64_t i = 0; i < kLeaf; ++i) sum[i] = squared[i] + reach_[i];
    int64_t best = 0;  // nearly: the least sum of squares, for which no roots need be taken
    for (int64_t i = 1; i < kLeaf; ++i) best = sum[i] < sum[best] ? i : best;
    const double distance = std::sqrt(squared[best]) + std::sqrt(reach_[best]);
    return distance * distance * (1 + 1e-12) + std::numeric_limits<double>::min();
  }

  void add(const Place& place, double squared_distance) {
    places_.x[next_] = place.x, places_.y[next_] = place.y, places_.z[next_] = place.z;
    reach_[next_] = squared_distance;
    next_ = (next_ + 1) % kLeaf;
  }

 private:
  Leaf<double> places_ = {};
  double reach_[kLeaf];  // squared
  int64_t next_ = 0;
};
}  // namespace geoguide3d::cpu
