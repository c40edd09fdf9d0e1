"""Rooms: the same bytes for the same seed, and a cloud that fits the frames."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from geoguide3d.geometry.cameras import Camera
from geoguide3d.scenes.rooms import CATEGORIES, Room, Split, make_room
from geoguide3d.scenes.rooms.sampling import SPACING_M
from geoguide3d.scenes.scene import Scene

pytest.importorskip("open3d")


def _digest(seed: int, split: Split) -> str:
    room = make_room(seed, split)
    scene, view = room.scene(), room.views()[7]
    assert view.read_depth is not None
    fields = (scene.points, scene.colors, scene.normals, scene.labels, scene.instances)
    sums = hashlib.sha256(repr(room.objects).encode())
    for tensor in (*fields, view.read_color(), view.read_depth(), view.camera.camera_from_world):
        assert tensor is not None
        sums.update(tensor.numpy().tobytes())
    return sums.hexdigest()


def _world_points(camera: Camera, depth: Tensor) -> np.ndarray:
    v, u = np.meshgrid(np.arange(camera.height), np.arange(camera.width), indexing="ij")
    pixels = np.stack([u, v, np.ones_like(u)], axis=-1).reshape(-1, 3) * depth.numpy().reshape(-1, 1)
    local = pixels @ np.linalg.inv(camera.intrinsics.numpy()).T
    world_from_camera = np.linalg.inv(camera.camera_from_world.numpy())
    return local @ world_from_camera[:3, :3].T + world_from_camera[:3, 3]


@pytest.mark.parametrize("split", ["train", "test"])
def test_same_seed_same_bytes(split: Split) -> None:
    assert _digest(1, split) == _digest(1, split)


def test_another_seed_gives_another_room() -> None:
    assert _digest(1, "train") != _digest(10, "train")


def test_pixels_lie_on_the_points_of_the_scene_and_agree_in_label(bedroom: Room, bedroom_scene: Scene) -> None:
    assert bedroom_scene.labels is not None
    assert bedroom_scene.instances is not None
    tree = cKDTree(bedroom_scene.points.numpy())
    near, agree = [], []
    for camera in bedroom.cameras()[::6]:
        frame = bedroom.render(camera)
        distance, row = tree.query(_world_points(camera, frame.depth))
        near.append(distance < 1.5 * SPACING_M)
        labels = bedroom_scene.labels.numpy()[row]
        agree.append((labels == frame.labels.numpy().ravel())[distance < SPACING_M / 2])
    assert np.concatenate(near).mean() > 0.99
    assert np.concatenate(agree).mean() > 0.98  # the rest lies on borders between objects


def test_points_are_about_two_centimetres_apart(bedroom_scene: Scene) -> None:
    assert bedroom_scene.labels is not None
    floor = bedroom_scene.points[bedroom_scene.labels == CATEGORIES.index("floor")]
    nearest = cKDTree(floor.numpy()).query(floor.numpy(), k=2)[0][:, 1]
    assert 0.009 < nearest.mean() < 0.021
    cells = torch.unique((floor / 0.1).floor(), dim=0, return_counts=True)[1]
    assert 20 <= cells.float().median().item() <= 25  # of 25 cells of 2 cm in a square decimetre


def test_fields_of_the_scene(bedroom: Room, bedroom_scene: Scene) -> None:
    scene = bedroom_scene
    assert scene.up is not None
    assert scene.up.tolist() == [0, 0, 1]
    assert scene.colors is not None
    assert 0 <= scene.colors.min() < scene.colors.max() <= 1
    assert scene.instances is not None
    assert scene.labels is not None
    labels = torch.tensor([CATEGORIES.index(item.category) for item in bedroom.objects])
    assert torch.equal(labels[scene.instances], scene.labels)
    assert [item.instance for item in bedroom.objects] == list(range(len(bedroom.objects)))
    seen = set(scene.instances.unique().tolist())
    assert len(seen) >= len(bedroom.objects) - 1  # a walk that misses things is no walk


def test_every_point_is_seen_and_its_normal_turns_to_a_camera_that_sees_it(bedroom: Room, bedroom_scene: Scene) -> None:
    assert bedroom_scene.normals is not None
    rows = torch.arange(0, len(bedroom_scene), 997)
    points, normals = bedroom_scene.points[rows].double(), bedroom_scene.normals[rows].double()
    torch.testing.assert_close(normals.norm(dim=1), torch.ones(len(rows)).double(), atol=1e-4, rtol=0)
    seen = torch.zeros(len(rows), dtype=torch.bool)
    for camera in bedroom.cameras():
        local = points @ camera.camera_from_world[:3, :3].T + camera.camera_from_world[:3, 3]
        pixel = local @ camera.intrinsics.T
        u, v = (pixel[:, 0] / pixel[:, 2]).round().long(), (pixel[:, 1] / pixel[:, 2]).round().long()
        inside = (local[:, 2] > 0) & (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
        depth = bedroom.render(camera).depth[v.clamp(0, camera.height - 1), u.clamp(0, camera.width - 1)]
        facing = ((camera.center_world - points) * normals).sum(dim=1) > 0
        seen |= inside & facing & ((depth - local[:, 2]).abs() < 0.03 + 0.02 * local[:, 2])
    assert seen.double().mean() > 0.99  # the rest hides in the rounding to pixels


def test_importing_rooms_needs_no_open3d() -> None:
    code = "import sys; from geoguide3d.scenes.rooms import make_room; make_room(0); assert 'open3d' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="-3"):
        make_room(-3)
