"""Files of superpoints: ScanNet's .segs.json, and the .pth of SAS and Open3DIS. Their rows are the input's rows."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geoguide3d.geometry.superpoints import numbered_by_first_point
from geoguide3d.scenes.scene import Scene
from geoguide3d.store.atomic import atomic_file
from geoguide3d.store.torch_files import numbers_of, read_torch_file

_JSON, _TORCH = (".json",), (".pth", ".pt")


def read_superpoints(path: str | os.PathLike[str], scene: Scene) -> Tensor:
    """Reads the superpoints of a scene's points, (N,) int64, contiguous from 0 by first appearance.

    `.json` is ScanNet's `{scene}_vh_clean_2.0.010000.segs.json`: an object with `segIndices`, which are not contiguous.
    `.pth` and `.pt` hold one array of numpy or one tensor (SAS `superpoint/{scene}_vh_clean_2.pth`, Open3DIS
    `superpoints/{scene}.pth`). Whole numbers of any type are read. The file has one id for each row of the scene's
    input; those of rows that the reader of the scene dropped are left out.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another suffix, a damaged file, ids that are not whole numbers from 0 up, or as many of them as the
            scene's input does not have.
    """
    path = Path(path)
    if path.suffix.lower() in _JSON:
        ids = _whole_numbers(_segment_list(path), path)
    elif path.suffix.lower() in _TORCH:
        ids = _whole_numbers(_array(path), path)
    else:
        raise ValueError(f"{path}: superpoints are read from {', '.join(_JSON + _TORCH)}, not from '{path.suffix}'")
    _check_length(len(ids), scene, path)
    return numbered_by_first_point(ids if scene.kept is None else ids[scene.kept])


def read_segs_params(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns `params` of a .segs.json as they stand there (`kThresh`, `segMinVerts` …); {} where it has none.

    Raises:
        FileNotFoundError, ValueError: as `read_superpoints`.
    """
    params = _segs(Path(path)).get("params", {})
    if not isinstance(params, dict):
        raise ValueError(f"{path}: params must be an object, got {type(params).__name__}")
    return params


def write_superpoints(
    path: str | os.PathLike[str], superpoints: Tensor, scene: Scene, params: Mapping[str, Any] | None = None
) -> None:
    """Writes superpoints for every row of the scene's input, in the format that the suffix names; whole or not at all.

    Rows that the scene's reader dropped become superpoints of their own, as the segmentator leaves vertices without
    edges. `.pth` and `.pt` hold an int64 array of numpy, which SAS and Open3DIS both read.

    Args:
        superpoints: (N,) int64, 0 or more.
        params: of .json alone: what it says about how they were made, such as those of `read_segs_params`.

    Raises:
        ValueError: another length or dtype, negative ids, another suffix, or params for a .pth.
    """
    path = Path(path)
    if superpoints.shape != (len(scene),) or superpoints.dtype != torch.int64:
        raise ValueError(
            f"{path}: superpoints of {scene.name} must be ({len(scene)},) int64, "
            f"got {tuple(superpoints.shape)} {superpoints.dtype}"
        )
    if int(superpoints.min()) < 0:
        raise ValueError(f"{path}: superpoints must be 0 or more, got {int(superpoints.min())}")
    rows = _input_rows(superpoints.cpu(), scene)
    if path.suffix.lower() in _JSON:
        content = {"params": dict(params or {}), "sceneId": scene.name, "segIndices": rows.tolist()}
        with atomic_file(path) as temporary:
            temporary.write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")
    elif path.suffix.lower() in _TORCH:
        if params:
            raise ValueError(f"{path}: a {path.suffix} holds no params; write a .json, or leave them out")
        # Through an open file, because torch.save would write the temporary name into a file that it opens itself.
        with atomic_file(path) as temporary, temporary.open("wb") as file:
            torch.save(rows.numpy(), file)
    else:
        raise ValueError(f"{path}: superpoints are written as {', '.join(_JSON + _TORCH)}, not as '{path.suffix}'")


def _segs(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a whole JSON file ({error}); copy it again") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: must hold an object with segIndices, got {type(content).__name__}")
    return content


def _segment_list(path: Path) -> NDArray[Any]:
    content = _segs(path)
    ids = content.get("segIndices")
    if not isinstance(ids, list):
        raise ValueError(
            f"{path}: has no list segIndices, only {sorted(content)}; "
            "superpoints are in *_vh_clean_2.0.010000.segs.json, not in the aggregation"
        )
    wrong = set(map(type, ids)) - {int, float}
    if wrong:
        names = ", ".join(sorted(kind.__name__ for kind in wrong))
        raise ValueError(f"{path}: segIndices must be whole numbers, got {names} among them")
    return np.array(ids) if ids else np.empty(0, dtype=np.int64)


def _array(path: Path) -> NDArray[Any]:
    content = read_torch_file(path)
    if not isinstance(content, Tensor | np.ndarray):
        raise ValueError(f"{path}: must hold one array or tensor of ids, got {type(content).__name__}")
    if isinstance(content, Tensor) and content.dtype == torch.bfloat16:
        raise ValueError(f"{path}: ids must be integers, got {content.dtype}, which rounds those above 256")
    return numbers_of(content, "ids", path)


def _whole_numbers(values: NDArray[Any], path: Path) -> Tensor:
    """Returns the ids as (M,) int64."""
    if values.ndim != 1 or values.dtype.kind not in "iuf":
        raise ValueError(f"{path}: ids must be one row of whole numbers, got {values.shape} {values.dtype}")
    if values.dtype.kind == "f":
        broken = values[~np.isfinite(values) | (values != np.floor(values))]
        if len(broken):
            raise ValueError(f"{path}: ids must be whole numbers, got {broken[0]}; does it hold scores?")
    if len(values) and values.min() < 0:
        raise ValueError(f"{path}: superpoint ids must be 0 or more, got {values.min()}; does it hold instance labels?")
    if len(values) and values.dtype.kind != "i" and float(values.max()) >= 2.0**63:
        raise ValueError(f"{path}: superpoint ids must fit int64, got {values.max()}")
    return torch.from_numpy(values.astype(np.int64))


def _check_length(count: int, scene: Scene, path: Path) -> None:
    if count == scene.input_count:
        return
    cure = "give the file that was made from this very cloud, in its order of vertices"
    if count == len(scene):
        cure = (
            f"it fits the {count} points left after the rows with inf or NaN were dropped; write it for all rows of "
            "the input (Scene.to_input_rows, or write_superpoints)"
        )
    raise ValueError(
        f"{path}: holds {count} ids, but {scene.source or scene.name} has {scene.input_count} points: {cure}"
    )


def _input_rows(superpoints: Tensor, scene: Scene) -> Tensor:
    """Returns (input_count,) ids, with new ones for the rows that are no points."""
    rows = scene.to_input_rows(superpoints, -1)
    dropped = rows < 0
    rows[dropped] = int(superpoints.max()) + 1 + torch.arange(int(dropped.sum()))
    return rows
