"""fuse_views: a posed walk through a scene and an image encoder in, features per point out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tqdm import tqdm

from geoguide3d.encoders.protocols import ImageEncoder
from geoguide3d.fusion.accumulator import FusedFeatures, FusionAccumulator
from geoguide3d.fusion.settings import FusionSettings
from geoguide3d.geometry.visibility import VisibilityRule
from geoguide3d.scenes.scene import Scene
from geoguide3d.scenes.view import View


@torch.no_grad()
def fuse_views(
    scene: Scene, views: Sequence[View], encoder: ImageEncoder, settings: FusionSettings | None = None
) -> FusedFeatures:
    """Returns, per point, the (weighted) mean of the encoder's pixel features over the views that see it.

    Frames are read, encoded and dropped a few at a time; a progress bar shows on a terminal.

    Args:
        scene: N points; views without sensor depth are tested against its own z-buffer.
        views: posed frames in the world of the scene's file.
        encoder: gives (h, w, C) maps; where it does not read images, no colour is decoded.

    Raises:
        ValueError: no views, none of them sees a point, or the encoder gave inf or NaN.
    """
    settings = FusionSettings() if settings is None else settings
    if not views:
        raise ValueError(f"{scene.name}: no views to fuse; is the folder of frames empty?")
    accumulator = FusionAccumulator(scene, encoder.channels, settings)
    seen = 0
    with tqdm(total=len(views), desc=f"fuse {scene.name}", unit="view", disable=None) as progress:
        for start in range(0, len(views), settings.images_per_call):
            batch = views[start : start + settings.images_per_call]
            seen += _fuse_batch(accumulator, batch, encoder, settings.rule)
            progress.update(len(batch))
    if seen == 0:
        raise ValueError(
            f"{scene.name}: none of the {len(views)} views sees a point. Check that the poses are world-from-camera, "
            "with OpenCV axes, in the cloud's frame; that cloud and poses are in metres; and the depth scale"
        )
    fused = accumulator.result()
    if not bool(torch.isfinite(fused.features.sum())):
        raise ValueError(f"{scene.name}: the encoder gave inf or NaN features; run it in float32 or bfloat16")
    return fused


def _fuse_batch(
    accumulator: FusionAccumulator, batch: Sequence[View], encoder: ImageEncoder, rule: VisibilityRule
) -> int:
    """Reads, encodes and adds a few views; their images and maps are freed on return. Returns the sightings."""
    images = [view.read_color() if encoder.reads_images else None for view in batch]
    feature_maps = encoder.encode_images(images, [view.name for view in batch])
    seen = 0
    for view, feature_map in zip(batch, feature_maps, strict=True):
        depth_map = None
        if view.read_depth is not None and rule.occlusion == "depth":
            depth_map = view.read_depth()
        seen += accumulator.add(view, feature_map, depth_map)
    return seen
