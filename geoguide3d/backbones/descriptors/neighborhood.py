"""Means over balls of any radius at the cost of a small one."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from geoguide3d.geometry.voxels import voxelize
from geoguide3d.ops import knn

_CELLS_PER_RADIUS = 2.5
_MOST_CELLS = 48


class Neighborhood:
    """Weighted means around every sample, with a weight that falls smoothly from 1 at the centre to 0 at the radius.

    Samples are first summed over cells of radius / 2.5, so that a ball never holds more than a few dozen of them; the
    smooth weight, measured to the cells' centroids, hides where the cells' borders fell.
    """

    def __init__(self, positions: Tensor, radius_m: float) -> None:
        """Builds the weights for samples at positions ((M, 3) metres)."""
        grid = voxelize(positions, radius_m / _CELLS_PER_RADIUS)
        count = len(positions)
        rows = grid.voxel_of_point.numpy()
        self._sums = csr_matrix((np.ones(count), (rows, np.arange(count))), shape=(len(grid), count))
        masses = self._sums @ np.ones(count)
        centroids = torch.from_numpy(self._sums @ positions.numpy() / masses[:, None])
        ids, distances = knn(centroids, _MOST_CELLS, positions)
        weights = (1.0 - (distances.to(torch.float64) / radius_m) ** 2).clamp(min=0.0) ** 2
        weights[:, 0] = weights[:, 0].clamp(min=1e-3)  # nobody is alone: its own cell always counts
        starts = np.arange(count + 1) * ids.shape[1]
        self._weights = csr_matrix((weights.numpy().ravel(), ids.numpy().ravel(), starts), shape=(count, len(grid)))
        self._weights.eliminate_zeros()
        self.mass = torch.from_numpy(self._weights @ masses)

    def mean(self, values: Tensor) -> Tensor:
        """Returns (M, F) float64, the weighted mean of values ((M, F)) around every sample."""
        pooled = self._weights @ (self._sums @ values.to(torch.float64).numpy())
        return torch.from_numpy(pooled) / self.mass.unsqueeze(1)

    def mean_and_deviation(self, values: Tensor) -> Tensor:
        """Returns (M, 2F): the means, then the standard deviations."""
        means, squares = self.mean(torch.cat([values, values**2], dim=1)).chunk(2, dim=1)
        return torch.cat([means, (squares - means**2).clamp(min=0.0).sqrt()], dim=1)
