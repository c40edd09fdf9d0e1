"""Fused 2D features that others computed and stored, as OpenScene and SAS do: a teacher without images."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geoguide3d.encoders.protocols import TextEncoder
from geoguide3d.fusion.accumulator import FusedFeatures
from geoguide3d.scenes.named_scenes import SceneFiles, check_patterns, find_files
from geoguide3d.scenes.scene import Scene
from geoguide3d.scenes.view import View
from geoguide3d.store.torch_files import numbers_of, read_torch_file

_log = logging.getLogger(__name__)

_SAME = 2e-3  # of the largest channel: float16 keeps 11 bits, so one mean rounded in two ways differs by half of that
_KEYS = "keys feat (M, C) and mask_full (N,), of older files also mask"


@dataclass(frozen=True)
class FusedFileSettings:
    """Where stored features of points lie.

    Args:
        files: patterns of paths under --data-root with {scene} for the scene's name; all files of the first pattern
            that leads to any are read together, e.g. the five chunks of a training scene.
        text_space: whose vectors they are: clip-vit-b-32/openai (512 channels; LSeg and SAS) or
            clip-vit-l-14-336/openai (768; OpenSeg).
        skip_missing: leave scenes without files out instead of stopping; some regions of Matterport3D have none.

    Raises:
        ValueError: no pattern, or one without {scene}.
    """

    files: tuple[str, ...] = ("scannet_multiview_fuse/{scene}_*.pt",)
    text_space: str = "clip-vit-b-32/openai"
    skip_missing: bool = False

    def __post_init__(self) -> None:
        if not self.files:
            raise ValueError("fused features need at least one pattern of files")
        check_patterns("fused features", self.files)


@dataclass(frozen=True)
class FusedRows:
    """Features of the points of a scene that have some, T of N.

    Args:
        point_ids: (T,) int64, ascending.
        features: (T, C) of the files' float type, un-normalised, finite, none of them zero.
        point_count: N.
    """

    point_ids: Tensor
    features: Tensor
    point_count: int

    def to_points(self) -> FusedFeatures:
        """Returns them as (N, C) float32, as if one view had seen each; several times the memory of the rows."""
        features = torch.zeros(self.point_count, self.features.shape[1])
        features[self.point_ids] = self.features.to(torch.float32)
        count = torch.zeros(self.point_count, dtype=torch.int32)
        count[self.point_ids] = 1
        return FusedFeatures(features, count)


def fused_teacher(
    settings: FusedFileSettings, data_root: Path, text: TextEncoder
) -> Callable[[Scene, Sequence[View]], FusedFeatures]:
    """Returns a teacher that looks its features up by the scene's name and needs no views.

    Raises:
        ValueError: the features are not of the text encoder's space. The teacher itself raises what `find_files` and
            `read_fused_rows` do, and ValueError where the features have another width than the text vectors.
    """
    if settings.text_space != text.text_space:
        raise ValueError(
            f"the fused features speak {settings.text_space}, but text.kind answers in {text.text_space}; choose a "
            "text encoder of the features' space"
        )

    def teach(scene: Scene, views: Sequence[View]) -> FusedFeatures:
        files = find_files("fused features", settings.files, data_root, scene.name)
        rows = read_fused_rows(files, scene)
        if rows.features.shape[1] != text.channels:
            raise ValueError(
                f"{files[0]}: features of {rows.features.shape[1]} channels, but vectors of {settings.text_space} have "
                f"{text.channels}; correct the pattern or the text space"
            )
        return rows.to_points()

    return teach


def scenes_with_features(
    scenes: Sequence[SceneFiles], settings: FusedFileSettings, data_root: Path
) -> list[SceneFiles]:
    """Returns the scenes that have files of features, so that a missing one is known before anything is computed.

    Raises:
        FileNotFoundError: a scene has none and settings do not skip it, or no scene has any.
    """
    kept, error = [], None
    for scene in scenes:
        try:
            find_files("fused features", settings.files, data_root, scene.name)
        except FileNotFoundError as missing:
            if not settings.skip_missing:
                raise
            error = missing
        else:
            kept.append(scene)
    if error is not None and not kept:
        raise error
    if len(kept) < len(scenes):
        _log.warning("%d of %d scenes have no fused features and are left out", len(scenes) - len(kept), len(scenes))
    return kept


def read_fused_rows(files: Sequence[Path], scene: Scene) -> FusedRows:
    """Returns the features of all points that any of the files has, un-normalised; zero vectors are left out.

    A training scene of OpenScene comes as five random chunks of the same fusion, a validation scene and all scenes of
    SAS as one file. A point that several chunks hold has the same feature in all of them, which is checked; the first
    counts. In memory are the rows of all files and, while they are put together, once more their union.

    Files are dictionaries: `feat` (M, C), the rows of the points that `mask_full` (N,) marks (openscene @ 0f369bc,
    `fusion_util.py`). Older ones have more keys: `feat` then holds a row for each point of the chunk and `mask` the
    numbers of those rows that some view saw; a third axis of `feat` is cut to its first entry.

    Args:
        files: of one scene, at least one.
        scene: whose points they are; rows that its reader dropped are dropped here too.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a damaged file, other content, another number of points than the scene's, features that are not
            finite, or chunks that contradict each other; names the file and the rows.
    """
    read = [_read_chunk(file, scene.input_count) for file in files]
    widths = {features.shape[1] for _, features in read}
    if len(widths) != 1:
        raise ValueError(f"{scene.name}: its files have features of {sorted(widths)} channels; are they of one fusion?")
    held = torch.zeros(scene.input_count, dtype=torch.bool)
    for ids, _ in read:
        held[ids] = True
    row_of = held.cumsum(0) - 1
    kind = max((features.dtype for _, features in read), key=lambda dtype: torch.finfo(dtype).bits)
    union = torch.empty(int(held.sum()), widths.pop(), dtype=kind)
    filled = torch.zeros(len(union), dtype=torch.bool)
    for file, (ids, features) in zip(files, read, strict=True):
        rows = row_of[ids]
        again = filled[rows]
        _check_same(union[rows[again]], features[again], ids[again], file)
        union[rows[~again]] = features[~again].to(kind)
        filled[rows] = True
    return _of_scene(held.nonzero().squeeze(1), union, scene)


def _of_scene(ids: Tensor, features: Tensor, scene: Scene) -> FusedRows:
    """Counts points as the scene does and leaves out what teaches nothing."""
    wanted = features.any(dim=1)
    if scene.kept is not None:
        wanted &= scene.kept[ids]
    if not bool(wanted.all()):
        ids, features = ids[wanted], features[wanted]
    if scene.kept is not None:
        ids = scene.kept.cumsum(0)[ids] - 1
    return FusedRows(ids, features, len(scene))


def _read_chunk(file: Path, point_count: int) -> tuple[Tensor, Tensor]:
    """Returns the points of one file, (M,) int64 ascending, and their features (M, C)."""
    content = read_torch_file(file)
    if not isinstance(content, dict) or not {"feat", "mask_full"} <= content.keys():
        found = sorted(map(str, content))[:8] if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"{file}: expected a dictionary with {_KEYS}, got {found}")
    features, mask = _tensor(content["feat"], "feat", file), _tensor(content["mask_full"], "mask_full", file)
    if features.ndim == 3:
        features = features[..., 0]
    if features.ndim != 2 or not features.is_floating_point():
        raise ValueError(f"{file}: feat must be (M, C) floats, got {tuple(features.shape)} {features.dtype}")
    if mask.ndim != 1 or mask.dtype not in (torch.bool, torch.uint8):
        raise ValueError(f"{file}: mask_full must be (N,) bool, got {tuple(mask.shape)} {mask.dtype}")
    if len(mask) != point_count:
        raise ValueError(
            f"{file}: mask_full counts {len(mask)} points, the scene's file has {point_count}; they are of two scenes, "
            "or the points were not in the order of the scene's file when the features were made"
        )
    ids = mask.nonzero().squeeze(1)
    if len(features) != len(ids):
        raise ValueError(f"{file}: {len(features)} rows in feat for {len(ids)} points in mask_full")
    if len(content) > 2 and "mask" in content:
        seen = _seen_rows(_tensor(content["mask"], "mask", file), len(features), file)
        ids, features = ids[seen], features[seen]
    _check_finite(features, ids, file)
    return ids, features


def _seen_rows(mask: Tensor, count: int, file: Path) -> Tensor:
    """Returns the numbers of the rows that some view saw, ascending."""
    if mask.ndim == 1 and mask.dtype == torch.bool and len(mask) == count:
        return mask.nonzero().squeeze(1)
    if mask.ndim != 1 or mask.dtype == torch.bool or mask.is_floating_point():
        raise ValueError(f"{file}: mask must hold row numbers of feat, got {tuple(mask.shape)} {mask.dtype}")
    rows: Tensor = torch.unique(mask.to(torch.int64))
    if len(rows) and not 0 <= int(rows[0]) <= int(rows[-1]) < count:
        raise ValueError(f"{file}: mask names rows {int(rows[0])} to {int(rows[-1])}, feat has {count}")
    return rows


def _check_finite(features: Tensor, ids: Tensor, file: Path) -> None:
    broken = (~torch.isfinite(features).all(dim=1)).nonzero().squeeze(1)
    if len(broken):
        raise ValueError(
            f"{file}: {len(broken)} of {len(features)} features hold inf or NaN, of points "
            f"{', '.join(map(str, ids[broken[:5]].tolist()))}{' …' if len(broken) > 5 else ''}; fuse the scene again"
        )


def _check_same(before: Tensor, now: Tensor, ids: Tensor, file: Path) -> None:
    """Compares the features of points that an earlier file had."""
    before, now = before.to(torch.float32), now.to(torch.float32)
    apart = (before - now).abs().amax(dim=1) > _SAME * before.abs().amax(dim=1)
    if bool(apart.any()):
        raise ValueError(
            f"{file}: {int(apart.sum())} points have other features here than in an earlier file of the scene, e.g. "
            f"point {int(ids[apart][0])}; the files are of two fusions, remove one of them"
        )


def _tensor(value: Any, key: str, file: Path) -> Tensor:
    array: Tensor = torch.from_numpy(np.ascontiguousarray(numbers_of(value, key, file)))
    return array
