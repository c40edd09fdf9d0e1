"""write_masks: masks in the layout of MaskClustering, which `read_masks` and that project's evaluation read."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from geoguide3d.geometry.masks import PointMasks
from geoguide3d.scenes.scene import Scene
from geoguide3d.store.atomic import atomic_file


def write_masks(path: str | os.PathLike[str], masks: PointMasks, scene: Scene) -> None:
    """Writes `pred_masks` (rows of the scene's input, M) bool, `pred_score` (M,) float32 and `pred_classes`, zeros.

    Raises:
        ValueError: masks of another number of points, or a name that does not end in .npz.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"{path}: masks are written as .npz, name it {path.with_suffix('.npz').name}")
    if masks.point_count != len(scene):
        raise ValueError(f"masks of {masks.point_count} points do not belong to {scene.name} with {len(scene)}")
    matrix = scene.to_input_rows(masks.to_dense().T, False).cpu().numpy()
    with atomic_file(path) as temporary:
        np.savez_compressed(
            temporary,
            pred_masks=np.ascontiguousarray(matrix),
            pred_score=masks.known_scores.cpu().numpy(),
            pred_classes=np.zeros(len(masks), dtype=np.int32),
        )
