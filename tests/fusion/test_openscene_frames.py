"""Mapping and fusion of recorded frames, point by point as OpenScene's own code gave them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from geoguide3d.fusion.accumulator import FusionAccumulator
from geoguide3d.fusion.settings import FusionSettings
from geoguide3d.geometry.cameras import Camera
from geoguide3d.geometry.openscene import MATTERPORT_RULE, NUSCENES_RULE, SCANNET_RULE
from geoguide3d.geometry.visibility import VisibilityRule, visible_points
from geoguide3d.scenes.scene import Scene
from geoguide3d.scenes.view import View

Arrays = dict[str, NDArray[np.generic]]
WITH_DEPTH = ["icl_nuim", "real_hololens", "room_matterport", "room_scannet"]
CASES = [(name, kind) for name in WITH_DEPTH for kind in ("t025", "t002")]
CASES += [(name, "nodepth") for name in ("icl_nuim", "real_hololens", "room_nodepth", "room_scannet")]


def recorded(folder: Path, name: str) -> Arrays:
    with np.load(folder / "modules/projection_fusion" / f"{name}.npz") as arrays:
        return {key: arrays[key] for key in arrays.files}


def rule_of(kind: str, border_px: int) -> VisibilityRule:
    rule = {"t025": SCANNET_RULE, "t002": MATTERPORT_RULE, "nodepth": NUSCENES_RULE}[kind]
    return VisibilityRule(rule.depth_tolerance_m, rule.depth_tolerance_ratio, border_px, rule.occlusion)


def cameras(arrays: Arrays) -> list[Camera]:
    width, height = arrays["image_dim"].tolist()
    intrinsics = np.broadcast_to(arrays["intrinsics"], (len(arrays["poses"]), 4, 4))[:, :3, :3].copy()
    poses = np.linalg.inv(arrays["poses"])
    return [
        Camera(torch.from_numpy(k), torch.from_numpy(p), width, height) for k, p in zip(intrinsics, poses, strict=True)
    ]


def depth_of(arrays: Arrays, frame: int) -> torch.Tensor:
    return torch.from_numpy((arrays["depth_u16"][frame] / arrays["depth_scale"]).astype(np.float32))


def feature_map_of(arrays: Arrays, frame: int) -> torch.Tensor:
    """(h, w, C) float16, the product of a row and a column factor taken in float32."""
    rows, columns = (torch.from_numpy(arrays[key][frame]) for key in ("feat_a", "feat_b"))
    return (rows[:, :, None] * columns[:, None, :]).half().permute(1, 2, 0).contiguous()


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_the_mapping_is_openscenes(shared_fixtures: Path, name: str, kind: str) -> None:
    arrays = recorded(shared_fixtures, name)
    points, rule = torch.from_numpy(arrays["points"]), rule_of(kind, int(arrays["cut"]))
    for frame, camera in enumerate(cameras(arrays)):
        depth_map = None if kind == "nodepth" else depth_of(arrays, frame)
        seen = visible_points(points, camera, depth_map, rule)
        mapping = torch.zeros(len(points), 3, dtype=torch.int64)  # (v, u, mask)
        mapping[seen.point_ids] = torch.stack([seen.v, seen.u, torch.ones_like(seen.u)], dim=1)
        stable = torch.from_numpy(arrays[f"stable_{kind}"][frame])
        expected = torch.from_numpy(arrays[f"map_{kind}"][frame]).long()
        assert bool(stable.any())
        torch.testing.assert_close(mapping[stable], expected[stable], rtol=0, atol=0)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_the_fused_features_are_openscenes(shared_fixtures: Path, name: str, kind: str) -> None:
    arrays = recorded(shared_fixtures, name)
    scene = Scene(torch.from_numpy(arrays["points"]).float())
    settings = FusionSettings(rule=rule_of(kind, int(arrays["cut"])))
    accumulator = FusionAccumulator(scene, arrays["feat_a"].shape[1], settings)
    for frame, camera in enumerate(cameras(arrays)):
        view = View(str(frame), camera, read_color=lambda: torch.zeros(0))
        depth_map = None if kind == "nodepth" else depth_of(arrays, frame)
        accumulator.add(view, feature_map_of(arrays, frame), depth_map)
    fused = accumulator.result()
    stable = torch.from_numpy(arrays[f"stable_{kind}"].all(0))
    torch.testing.assert_close(fused.seen[stable], torch.from_numpy(arrays[f"fused_mask_{kind}"])[stable])
    expected = torch.from_numpy(arrays[f"fused_{kind}"])
    assert int(fused.seen[stable].sum()) > 100
    torch.testing.assert_close(fused.features[stable], expected[stable], rtol=0, atol=1e-5)
