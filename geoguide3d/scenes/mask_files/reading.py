"""read_masks: the one door to files of masks. Each kind of file has its reader; this chooses, and matches the scene."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from torch import Tensor

from geoguide3d.geometry.masks import PointMasks
from geoguide3d.scenes.mask_files.archive import masks_of_archive
from geoguide3d.scenes.mask_files.benchmark_text import is_benchmark_text, masks_of_benchmark_text
from geoguide3d.scenes.mask_files.id_lists import ids_of_array, ids_of_text, masks_of_ids
from geoguide3d.scenes.mask_files.matrix import masks_of_matrix
from geoguide3d.scenes.mask_files.run_lengths import masks_of_dict
from geoguide3d.scenes.scene import Scene
from geoguide3d.store.torch_files import numbers_of, read_torch_file

_log = logging.getLogger(__name__)

MaskKind = Literal["auto", "openmask3d", "scannet", "maskclustering", "open3dis", "sai3d_labels", "sam3d_labels"]
MASK_KINDS: tuple[str, ...] = get_args(MaskKind)
_NO_MASK = {"sai3d_labels": 0, "sam3d_labels": -1}  # the id of points in no mask, by producer
_LABELS_HELP = (
    "it holds one id per point, and which id means no mask depends on who wrote it: "
    "say kind='sai3d_labels' (0 means none) or kind='sam3d_labels' (-1 means none)"
)


def read_masks(path: str | os.PathLike[str], scene: Scene, kind: MaskKind = "auto") -> PointMasks:
    """Reads the instance masks of a scene, with their scores where the file has any, else 1.

    Kinds (papers.md, Annex A.5):
        openmask3d: OpenMask3D's `{scene}_masks.pt`, a numpy array (N, K), and SAI3D's converter to it, a tensor.
        scannet: the ScanNet benchmark's `{scene}.txt` (also Mask3D's and SAI3D's): lines of path, class and score;
            each path is that of a file of N lines 0 or 1, relative to the folder of the .txt.
        maskclustering: MaskClustering's `{scene}.npz`: `pred_masks` (N, K) and `pred_score` (K,); `write_masks`.
        open3dis: Open3DIS' and ISBNet's `{scene}.pth`: a dict of `ins`, (K, N) or run lengths, and `conf` (K,).
        sai3d_labels: one id per point, 0 = none, in a text or a file of torch.save (SAI3D, `sai3d.py`: "0 → no
            instance for this vertex").
        sam3d_labels: the same with -1 = none (SAM3D, `util.py`, `num_to_natural`); 0 is the first mask.
        auto: by suffix and content; a list of ids is refused, because it does not say which id means none.

    Files count the rows of the scene's input: rows that its reader dropped (`Scene.kept`) leave the masks. In matrices
    the axis of length N is that of the points. Masks without points are dropped, which is logged.

    Raises:
        FileNotFoundError: no such file, or a mask that a text names is missing.
        ValueError: a file of another kind or damaged, masks of another number of points, values other than 0 and 1, or
            a score that is not finite.
    """
    path = Path(path)
    if kind not in MASK_KINDS:
        raise ValueError(f"{path}: kind must be one of {', '.join(MASK_KINDS)}, got {kind!r}")
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; masks are a file of one of these kinds: {_kinds()}")
    masks = _reader(path, kind)(path, scene.input_count)
    if scene.kept is not None:
        masks = masks.of_points(scene.kept.nonzero().squeeze(1))
    return _without_empty(masks, path)


_Reader = Callable[[Path, int], PointMasks]


def _reader(path: Path, kind: MaskKind) -> _Reader:
    if path.suffix.lower() == ".npz" and kind in ("auto", "maskclustering"):
        return masks_of_archive
    if path.suffix.lower() == ".txt":
        if kind in _NO_MASK:
            return lambda file, count: masks_of_ids(file, ids_of_text(file), count, _NO_MASK[kind])
        if kind == "scannet" or (kind == "auto" and is_benchmark_text(path)):
            return masks_of_benchmark_text
        if kind == "auto":
            raise ValueError(f"{path}: {_LABELS_HELP}; or, for the ScanNet benchmark's list, 'path class score' a line")
    if path.suffix.lower() in (".pt", ".pth") and kind not in ("scannet", "maskclustering"):
        return lambda file, count: _masks_of_torch(file, count, kind)
    raise ValueError(f"{path}: no masks of kind {kind!r} are in a file {path.suffix or 'without suffix'}; {_kinds()}")


def _masks_of_torch(path: Path, point_count: int, kind: MaskKind) -> PointMasks:
    content = read_torch_file(path)
    found = _kind_of(content)
    if found is None:
        raise ValueError(f"{path} holds a {type(content).__name__}, and masks are none such; {_kinds()}")
    if kind == "auto" and found == "ids":
        raise ValueError(f"{path}: {_LABELS_HELP}")
    wanted = "ids" if kind in _NO_MASK else kind
    if kind != "auto" and wanted != found:
        raise ValueError(f"{path} does not hold what kind={kind!r} means; {_kinds()}")
    if found == "openmask3d":
        return masks_of_matrix(path, numbers_of(content, "masks", path), None, point_count)
    if found == "open3dis":
        return masks_of_dict(path, content, point_count)
    return masks_of_ids(path, ids_of_array(path, numbers_of(content, "ids", path)), point_count, _NO_MASK[kind])


def _kind_of(content: Any) -> str | None:
    if isinstance(content, dict):
        return "open3dis" if "ins" in content else None
    if isinstance(content, Tensor | np.ndarray):
        return {1: "ids", 2: "openmask3d"}.get(content.ndim)
    return None


def _without_empty(masks: PointMasks, path: Path) -> PointMasks:
    kept = masks.sizes > 0
    if bool(kept.all()):
        return masks
    _log.warning("%s: %d of %d masks hold no point of the scene and are dropped", path, int((~kept).sum()), len(masks))
    return masks.select(kept)


def _kinds() -> str:
    return (
        "openmask3d (.pt: a matrix points × masks), scannet (.txt: path, class, score), maskclustering (.npz), "
        "open3dis (.pth: a dict of ins and conf), sai3d_labels and sam3d_labels (.txt, .pth: one id per point)"
    )
