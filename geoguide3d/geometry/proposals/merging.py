"""Regions merged two by two, the most alike first, until none that touch are left: a tree of merges."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from geoguide3d.geometry.proposals.regions import Regions
from geoguide3d.geometry.proposals.settings import ProposalSettings


@dataclass(frozen=True)
class MergeTree:
    """Q superpoints and the T − Q regions that they merge into; a child comes before its parent.

    Args:
        parent: (T,) int64, -1 of regions that nothing took in.
        cost: (T,) float64 at which a region came to be, 0 of superpoints; it never falls towards the root.
    """

    parent: Tensor
    cost: Tensor


@dataclass
class _Boundary:
    """Sums over the edges between two regions."""

    length: float
    concavity: float
    color: float
    affinity: float
    judged: float  # length of the parts whose affinity is known

    def add(self, other: _Boundary) -> None:
        self.length += other.length
        self.concavity += other.concavity
        self.color += other.color
        self.affinity += other.affinity
        self.judged += other.judged


def merge_regions(
    regions: Regions, mergeable: Tensor, affinity: Tensor | None, settings: ProposalSettings
) -> MergeTree:
    """Returns the tree of merges along the pairs of regions that may merge.

    Args:
        mergeable: (P,) bool, of `regions.pairs`; a merged region may merge with all that a part of it may.
        affinity: (P,) in [0, 1], NaN where it is not known; None: not known at all.
    """
    return _Merging(regions, mergeable, affinity, settings).run()


class _Merging:
    def __init__(
        self, regions: Regions, mergeable: Tensor, affinity: Tensor | None, settings: ProposalSettings
    ) -> None:
        self._settings = settings
        self._has_colors = bool(regions.color_sums.any())
        self._sizes = regions.sizes.tolist()
        self._colors = regions.color_sums.tolist()
        self._outlines = regions.outlines.tolist()
        self._parent = [-1] * len(self._sizes)
        self._cost = [0.0] * len(self._sizes)
        self._beside: list[dict[int, _Boundary]] = [{} for _ in self._sizes]
        known = torch.full((len(regions.pairs),), torch.nan) if affinity is None else affinity
        lengths = regions.lengths.to(torch.float64)
        judged = torch.where(known.isnan(), 0.0, lengths)
        sums = [lengths, regions.concavity, regions.color, known.nan_to_num(0.0) * judged, judged]
        rows = torch.stack(sums, dim=1)[mergeable].tolist()
        for (first, second), row in zip(regions.pairs[mergeable].tolist(), rows, strict=True):
            self._beside[first][second] = self._beside[second][first] = _Boundary(*row)

    def run(self) -> MergeTree:
        queue = [(self._judge(a, b), a, b) for a in range(len(self._beside)) for b in self._beside[a] if a < b]
        heapq.heapify(queue)
        while queue:
            cost, first, second = heapq.heappop(queue)
            # A boundary changes only when one of its regions is taken in, so an entry of two that stand is true.
            if cost <= self._settings.highest_cost and self._parent[first] < 0 and self._parent[second] < 0:
                merged = self._merge(first, second, cost)
                for other in self._beside[merged]:
                    heapq.heappush(queue, (self._judge(other, merged), other, merged))
        return MergeTree(torch.tensor(self._parent), torch.tensor(self._cost, dtype=torch.float64))

    def _merge(self, first: int, second: int, cost: float) -> int:
        merged = len(self._parent)
        inner = self._beside[first].pop(second)
        del self._beside[second][first]
        beside = self._beside[first]
        for other, boundary in self._beside[second].items():
            if other in beside:
                beside[other].add(boundary)
            else:
                beside[other] = boundary
        for part in (first, second):
            for other in self._beside[part]:
                self._beside[other].pop(part, None)
            self._parent[part] = merged
        for other, boundary in beside.items():
            self._beside[other][merged] = boundary
        self._beside[first] = self._beside[second] = {}
        self._beside.append(beside)
        self._parent.append(-1)
        self._cost.append(max(cost, self._cost[first], self._cost[second]))
        self._sizes.append(self._sizes[first] + self._sizes[second])
        self._colors.append([a + b for a, b in zip(self._colors[first], self._colors[second], strict=True)])
        self._outlines.append(self._outlines[first] + self._outlines[second] - 2 * inner.length)
        return merged

    def _judge(self, first: int, second: int) -> float:
        """Returns the cost of merging two regions that touch, in [0, 1]."""
        settings, boundary = self._settings, self._beside[first][second]
        outline = max(min(self._outlines[first], self._outlines[second]), boundary.length)
        cues: list[tuple[float, float]] = [
            (settings.concavity, boundary.concavity / boundary.length),
            (settings.contact, 1 - boundary.length / outline),
        ]
        if not self._has_colors:
            cues.append((settings.color, 0.0))  # cues that are missing speak for a merge, or all would be refused
        else:
            means = [[value / self._sizes[side] for value in self._colors[side]] for side in (first, second)]
            apart = math.dist(*means)
            differ = (boundary.color / boundary.length + apart) / 2
            cues.append((settings.color, min(1.0, differ / settings.color_range)))
        if boundary.judged > 0:
            cues.append((settings.views * boundary.judged / boundary.length, 1 - boundary.affinity / boundary.judged))
        return sum(weight * cue for weight, cue in cues) / sum(weight for weight, _ in cues)
