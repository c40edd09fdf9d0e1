"""The door of the objective: samples that do not fit together or hold NaN are refused before anything is computed."""

from __future__ import annotations

import torch
from torch import Tensor

from geoguide3d.distillation.sample import Sample
from geoguide3d.ops import segment_mean_csr
from geoguide3d.ops.point_lists import PointLists

_LARGEST = 1e30  # whose mean is finite; more is as good as infinite
_CURES = {
    "semantic": "has training diverged? lower the learning rate",
    "sample.geometric": "encode the scene's geometry again",
    "sample.targets": "fuse the scene's images again",
}


def check_sample(
    sample: Sample,
    semantic: Tensor,  # (P, C)
    geometric_channels: int,
    semantic_channels: int,
) -> None:
    """Raises ValueError unless the sample's tensors and the adapter's outputs for it fit together."""
    count = len(sample)
    if count == 0:
        raise ValueError("a sample of no points: leave the scene out")
    expected = {
        "semantic": (semantic, (count, semantic_channels)),
        "sample.geometric": (sample.geometric, (count, geometric_channels)),
        "sample.targets": (sample.targets, (count, semantic_channels)),
        "sample.taught": (sample.taught, (count,)),
    }
    if sample.superpoints is not None:
        expected["sample.superpoints"] = (sample.superpoints, (count,))
    if sample.points is not None:
        expected["sample.points"] = (sample.points, (count, 3))
    for name, (tensor, shape) in expected.items():
        if tensor.shape != shape:
            raise ValueError(f"{name} must be {shape}, got {tuple(tensor.shape)}")
    if sample.masks is not None and sample.masks.point_count != count:
        raise ValueError(
            f"sample.masks are over {sample.masks.point_count} points, the sample has {count}: "
            "cut them to the sample's points, or are they of another scene?"
        )


def finite_mean(
    name: str,
    rows: Tensor,  # (P, C)
    pooled: tuple[Tensor, PointLists] | None = None,
) -> Tensor:
    """Returns the (C,) mean of the rows; NaN and infinity cannot hide in it.

    Args:
        pooled: (S, C) means over lists that hold every row once, where there are some: they tell it without another
            look at the rows.

    Raises:
        ValueError: a row holds NaN or infinity; the message says in how many and what to do about `name`.
    """
    if pooled is None:
        everything = torch.tensor([0, len(rows)], device=rows.device)
        mean = segment_mean_csr(rows.detach(), everything).squeeze(0)  # torch's own takes four times as long
    else:
        means, lists = pooled
        mean = (means.detach() * lists.sizes[:, None]).sum(dim=0) / len(rows)
    if not bool(torch.isfinite(mean).all()):
        bad = int((~(rows.abs() < _LARGEST).all(dim=1)).sum())
        raise ValueError(f"{name} has NaN or infinite numbers in {bad} of {len(rows)} rows: {_CURES[name]}")
    return mean
