"""What one scene teaches: geometric features in, fused 2D features out, for the points that some view saw."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from geoguide3d.backbones.protocol import FrozenBackbone
from geoguide3d.fusion.accumulator import FusedFeatures
from geoguide3d.scenes.orientation import with_up
from geoguide3d.scenes.point_files import read_scene
from geoguide3d.scenes.posed_folder import open_posed_folder
from geoguide3d.scenes.scene import Scene
from geoguide3d.scenes.view import View

_log = logging.getLogger(__name__)

Teacher = Callable[[Scene, Sequence[View]], FusedFeatures]


@dataclass(frozen=True)
class CaptureSettings:
    """How scenes and their frames are read.

    Args:
        depth_scale: depth image units per metre.
        stride: takes every stride-th frame.
        points_per_scene: the most taught points of a scene that are kept, drawn evenly; all lessons stay in memory,
            4 G + 2 C bytes per point.

    Raises:
        ValueError: a number that must be positive is not.
    """

    depth_scale: float = 1000.0
    stride: int = 1
    points_per_scene: int = 200_000

    def __post_init__(self) -> None:
        for name in ("depth_scale", "stride", "points_per_scene"):
            if not getattr(self, name) > 0:
                raise ValueError(f"capture.{name} must be positive, got {getattr(self, name)}")


@dataclass(frozen=True)
class Lesson:
    """The taught points of one scene, M of them.

    Args:
        name: the scene's.
        features: (M, G) float32 of the backbone.
        targets: (M, C) float16 of unit length, half the memory of the largest tensor there is.
        point_count: points of the scene, taught or not.
    """

    name: str
    features: Tensor
    targets: Tensor
    point_count: int

    def __len__(self) -> int:
        return len(self.features)


def read_lesson(
    path: Path,
    capture: CaptureSettings,
    backbone: FrozenBackbone,
    teacher: Teacher,
    up: Tensor | None = None,  # (3,) in the scene's axes
) -> Lesson:
    """Returns the lesson of the scene at path: a folder with a point file, color/, depth/, pose/ and intrinsic.txt.

    Args:
        up: None takes the file's, or estimates it from the scene and its cameras.

    Raises:
        FileNotFoundError, ValueError: what the readers and the teacher raise, or no point has a teacher's feature.
    """
    scene, views = read_scene(path), open_posed_folder(path, depth_scale=capture.depth_scale, stride=capture.stride)
    scene = with_up(scene, up, torch.stack([view.camera.up_world for view in views]))
    return make_lesson(scene, backbone.encode(scene), teacher(scene, views), capture.points_per_scene)


def make_lesson(
    scene: Scene,
    features: Tensor,  # (N, G)
    fused: FusedFeatures,  # (N, C)
    most_points: int,
) -> Lesson:
    """Returns the lesson of at most most_points points that have a teacher's feature, zero vectors left out.

    Raises:
        ValueError: there is no such point.
    """
    taught = (fused.seen & (fused.features.abs().amax(dim=1) > 0)).nonzero().squeeze(1)
    if len(taught) == 0:
        raise ValueError(
            f"{scene.name}: no point has a teacher's feature; check poses, depth scale and the teacher's files"
        )
    _log.info("%s: %d of %d points are taught", scene.name, len(taught), len(scene))
    if len(taught) > most_points:
        generator = torch.Generator().manual_seed(0)
        taught = taught[torch.randperm(len(taught), generator=generator)[:most_points].sort().values]
    targets = torch.nn.functional.normalize(fused.features[taught], dim=1).to(torch.float16)
    return Lesson(scene.name, features[taught].to(torch.float32), targets, len(scene))
