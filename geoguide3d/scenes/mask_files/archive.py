"""MaskClustering's archive: a matrix of masks and their scores in one .npz."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from geoguide3d.geometry.masks import PointMasks
from geoguide3d.scenes.mask_files.matrix import checked_scores, masks_of_matrix


def masks_of_archive(path: Path, point_count: int) -> PointMasks:
    """Returns the masks of `pred_masks` (N, K) with the scores of `pred_score` (K,); classes are not read.

    Raises:
        ValueError: not such an archive, or a damaged one.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = archive.files
            arrays = {name: archive[name] for name in ("pred_masks", "pred_score") if name in names}
    except Exception as error:  # a damaged archive fails wherever the damage is: header, method, checksum, shape
        raise ValueError(f"{path}: not a whole .npz of plain arrays ({error}); save it again") from error
    if len(arrays) < 2:
        raise ValueError(f"{path}: masks are the arrays pred_masks and pred_score, found {', '.join(sorted(names))}")
    scores = checked_scores(path, arrays["pred_score"], "pred_score")
    return masks_of_matrix(path, arrays["pred_masks"], scores, point_count)
