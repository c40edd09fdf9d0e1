"""What one scene teaches: geometric features of all its points, and the fused 2D features of those that views saw."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from geoguide3d.backbones.cached import CachedBackbone
from geoguide3d.backbones.protocol import FrozenBackbone
from geoguide3d.distillation.guides import Guides
from geoguide3d.distillation.rows import Rows, channels_of, check_finite, read_rows
from geoguide3d.distillation.validation import ValidationScene
from geoguide3d.fusion.accumulator import FusedFeatures
from geoguide3d.geometry.masks import PointMasks
from geoguide3d.scenes.named_scenes import SceneFiles
from geoguide3d.scenes.orientation import with_up
from geoguide3d.scenes.point_files import read_scene
from geoguide3d.scenes.posed_folder import open_posed_folder
from geoguide3d.scenes.scene import Scene
from geoguide3d.scenes.view import View
from geoguide3d.store.cache import FeatureCache, FeaturePieces, content_key
from geoguide3d.store.feature_format import FeatureDescription

_log = logging.getLogger(__name__)

Teacher = Callable[[Scene, Sequence[View]], FusedFeatures]


@dataclass(frozen=True)
class CaptureSettings:
    """How scenes and their frames are read.

    Args:
        depth_scale: depth image units per metre.
        stride: takes every stride-th frame.
        points_per_scene: the most points of a scene whose 2D features are kept, drawn evenly, 2 C bytes each. The
            others count as seen by no view.
        targets_folder: keeps the 2D features in files there, where training reads the rows it needs, instead of in
            memory: for scenes that do not fit together. The files may be removed afterwards.

    Raises:
        ValueError: a number that must be positive is not.
    """

    depth_scale: float = 1000.0
    stride: int = 1
    points_per_scene: int = 200_000
    targets_folder: Path | None = None

    def __post_init__(self) -> None:
        for name in ("depth_scale", "stride", "points_per_scene"):
            if not getattr(self, name) > 0:
                raise ValueError(f"capture.{name} must be positive, got {getattr(self, name)}")


@dataclass(frozen=True)
class Lesson:
    """One scene of N points, T of them taught.

    Args:
        name: the scene's.
        features: (N, G) of the backbone, any float dtype.
        taught: (T,) int64 points that some view saw, ascending.
        targets: (T, C) fused 2D features as the teacher gives them, un-normalised; float16 halves the largest tensor
            there is.
        superpoints: (N,) int64, contiguous from 0. None: the scene has none.
        masks: class-agnostic instances over the N points. None: the scene has none.
        points: (N, 3) float32 metres. None: not kept.

    Raises:
        ValueError: no point is taught, lengths that differ, or features that are not finite; names the scene.
    """

    name: str
    features: Rows
    taught: Tensor
    targets: Rows
    superpoints: Tensor | None = None
    masks: PointMasks | None = None
    points: Tensor | None = None

    def __post_init__(self) -> None:
        count, taught = len(self), self.taught
        if len(taught) == 0:
            raise ValueError(
                f"{self.name}: no point has a teacher's feature; check poses, depth scale and the teacher's files, or "
                "take the scene off the list"
            )
        if int(taught[0]) < 0 or int(taught[-1]) >= count or bool((taught.diff() <= 0).any()):
            raise ValueError(f"{self.name}: taught points must ascend in [0, {count})")
        superpoints, masks = self.superpoints, self.masks
        lengths = {"superpoints": count if superpoints is None else len(superpoints)}
        lengths["masks"] = count if masks is None else masks.point_count
        lengths["points"] = count if self.points is None else len(self.points)
        for name, length in lengths.items():
            if length != count:
                raise ValueError(
                    f"{self.name}: {name} are of {length} points, the scene has {count}; are they its own?"
                )
        if len(self.targets) != len(taught):
            raise ValueError(f"{self.name}: {len(self.targets)} targets for {len(taught)} taught points")
        if superpoints is not None and int(superpoints.min()) < 0:
            raise ValueError(f"{self.name}: superpoints must be at least 0, got {int(superpoints.min())}")
        check_finite(self.name, "geometric features", self.features)
        check_finite(self.name, "2D features", self.targets)

    def __len__(self) -> int:
        return len(self.features)

    @property
    def geometric_channels(self) -> int:
        """G."""
        return channels_of(self.features)

    @property
    def semantic_channels(self) -> int:
        """C."""
        return channels_of(self.targets)

    def feature_rows(self, which: slice | Tensor) -> Tensor:
        """Returns (n, G) float32 features of some points."""
        return read_rows(self.features, which)

    def target_rows(self, which: slice | Tensor) -> Tensor:
        """Returns (n, C) float32 targets of some of the T taught points, counted from 0."""
        return read_rows(self.targets, which)


@dataclass(frozen=True)
class LessonReader:
    """Reads scenes into lessons.

    Args:
        capture: how scenes and frames are read.
        backbone: the frozen 3D features; those of a cached one stay on disk.
        up: (3,) in the scenes' axes; None takes the file's, or estimates it from the scene and its cameras.
        guides: where superpoints and masks come from; by default lessons have none.
        has_frames: whether a scene is a folder with a point file, color/, depth/, pose/ and intrinsic.txt; else it is
            a point file, and the teacher gets no views.
    """

    capture: CaptureSettings
    backbone: FrozenBackbone
    up: Tensor | None = None
    guides: Guides = field(default_factory=Guides)
    has_frames: bool = True

    def read(self, files: SceneFiles, teacher: Teacher) -> Lesson:
        """Returns the lesson of a scene.

        Raises:
            FileNotFoundError, ValueError: what the readers and the teacher raise, or what `Lesson` refuses.
        """
        scene = replace(read_scene(files.points), name=files.name)
        views: Sequence[View] = ()
        cameras_up = None
        if self.has_frames:
            capture = self.capture
            views = open_posed_folder(files.points, depth_scale=capture.depth_scale, stride=capture.stride)
            cameras_up = torch.stack([view.camera.up_world for view in views])
        scene = with_up(scene, self.up, cameras_up)
        fused = teacher(scene, views)
        superpoints = self.guides.superpoints_of(files, scene)
        return self.lesson(scene, fused, superpoints, self.guides.masks_of(files, scene, superpoints))

    def lesson(
        self,
        scene: Scene,
        fused: FusedFeatures,
        superpoints: Tensor | None = None,  # (N,)
        masks: PointMasks | None = None,
    ) -> Lesson:
        """Returns the lesson of a scene, zero vectors of the teacher left out.

        Raises:
            ValueError: what `Lesson` refuses.
        """
        taught = taught_points(fused, self.capture.points_per_scene)
        _log.info("%s: %d of %d points are taught", scene.name, len(taught), len(scene))
        targets = self._kept(scene, fused.features[taught].to(torch.float16))
        return Lesson(scene.name, self._features(scene), taught, targets, superpoints, masks, scene.points)

    def validation_scene(self, files: SceneFiles) -> ValidationScene:
        """Returns a scene to validate with, which needs labels and no images.

        Raises:
            FileNotFoundError, ValueError: what the readers raise, or the scene has no labels.
        """
        scene = with_up(replace(read_scene(files.points), name=files.name), self.up)
        if scene.labels is None:
            raise ValueError(f"{files.points}: has no labels to validate with; take it off the validation's list")
        return ValidationScene(scene.name, self._features(scene), scene.labels)

    def _kept(self, scene: Scene, targets: Tensor) -> Rows:
        """Returns the targets from where the settings keep them."""
        folder = self.capture.targets_folder
        if folder is None or len(targets) == 0:
            return targets
        check_finite(scene.name, "2D features", targets)
        description = FeatureDescription("semantic", "2D features of a lesson", targets.shape[1])
        pieces = FeaturePieces([targets])
        return FeatureCache(folder, torch.float16).get(content_key({"targets": targets}), description, lambda: pieces)

    def _features(self, scene: Scene) -> Rows:
        return self.backbone.open(scene) if isinstance(self.backbone, CachedBackbone) else self.backbone.encode(scene)


def taught_points(fused: FusedFeatures, most_points: int) -> Tensor:
    """Returns at most most_points points that have a teacher's feature, ascending and always the same."""
    taught = (fused.seen & (fused.features.abs().amax(dim=1) != 0)).nonzero().squeeze(1)
    if len(taught) > most_points:
        generator = torch.Generator().manual_seed(0)
        taught = taught[torch.randperm(len(taught), generator=generator)[:most_points].sort().values]
    return taught
