"""Local shape: how the samples around a point are spread (covariance eigen-features, Weinmann et al. 2015)."""

from __future__ import annotations

import torch
from torch import Tensor

from geoguide3d.backbones.descriptors.neighborhood import Neighborhood

EIGEN_FEATURES = (
    "linearity",
    "planarity",
    "scattering",
    "omnivariance",
    "surface variation",
    "verticality",
    "rise",
    "thickness",
)


def eigen_features(positions: Tensor, neighborhood: Neighborhood, radius_m: float) -> Tensor:
    """Returns (M, 8) float64 in [0, 1], the columns named by EIGEN_FEATURES.

    With the square roots s1 ≥ s2 ≥ s3 of the covariance's eigenvalues: (s1 - s2) / s1, (s2 - s3) / s1, s3 / s1, cube
    root of the eigenvalues' product over their mean, s3² over the sum of squares, 1 - |z of the normal|, |z of the
    longest axis|, s3 / radius_m. All are 0 where there is only one position.

    Args:
        positions: (M, 3) metres, z up.
    """
    rows, columns = torch.triu_indices(3, 3)
    means = neighborhood.mean(torch.cat([positions, positions[:, rows] * positions[:, columns]], dim=1))
    center, products = means[:, :3], means[:, 3:]
    covariance = torch.empty(len(positions), 3, 3, dtype=torch.float64)
    upper = products - center[:, rows] * center[:, columns]
    covariance[:, rows, columns] = upper
    covariance[:, columns, rows] = upper
    values, axes = torch.linalg.eigh(covariance)
    values = values.clamp(min=0.0)
    s3, s2, s1 = values.sqrt().unbind(dim=1)
    longest = s1.clamp(min=1e-9)
    total = values.sum(dim=1).clamp(min=1e-18)
    spread = (s1 > 1e-6).to(torch.float64)
    features = [
        (s1 - s2) / longest,
        (s2 - s3) / longest,
        s3 / longest,
        values.prod(dim=1).pow(1 / 3) * 3 / total,
        values[:, 0] / total * 3,
        1.0 - axes[:, 2, 0].abs(),
        axes[:, 2, 2].abs(),
        s3 / radius_m,
    ]
    described: Tensor = torch.stack(features, dim=1) * spread.unsqueeze(1)
    return described
