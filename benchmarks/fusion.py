"""Multi-view fusion, time per frame: 150,000 points of a furnished box, 30 frames of 320 × 240 pixels, half maps.

ours        FusionAccumulator.add, visibility included
plain       the best plain-torch composition: project in float64, gather the visible rows channel-last, index_add_
openscene   as OpenScene does: project, gather ALL points from a channel-first map, add with a mask into N × C
peak        what fusing some frames adds to memory; its limit is the accumulator plus one frame
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import measure
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geoguide3d.fusion.accumulator import FusionAccumulator
from geoguide3d.geometry.cameras import Camera
from geoguide3d.geometry.openscene import SCANNET_RULE
from geoguide3d.scenes.scene import Scene
from geoguide3d.scenes.view import View

POINTS, VIEWS, WIDTH, HEIGHT, FOCAL = 150_000, 30, 320, 240, 288.9
ROOM_M = np.array([[0.0, 0.0, 0.0], [7.0, 5.0, 2.8]])
PIECES = 14  # of furniture
MAPS = 3  # distinct feature maps in turn; one is larger than the caches, so more would time the same

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Walk:
    """A cloud and the frames around it."""

    scene: Scene
    views: list[View]
    depth_maps: list[Tensor]


def furniture(generator: np.random.Generator) -> Array:
    """Returns (PIECES, 2, 3): the lowest and the highest corner of boxes that stand on the floor."""
    size = generator.uniform([0.4, 0.4, 0.3], [1.6, 1.0, 1.8], (PIECES, 3))
    corner = generator.uniform(0, 1, (PIECES, 3)) * (ROOM_M[1] - size)
    corner[:, 2] = 0
    return np.stack([corner, corner + size], axis=1)


def surface_points(boxes: Array, count: int, generator: np.random.Generator) -> Array:
    """Returns (count, 3) points spread evenly over the faces of the boxes."""
    extent = boxes[:, 1] - boxes[:, 0]
    areas = np.stack([extent[:, 1] * extent[:, 2], extent[:, 0] * extent[:, 2], extent[:, 0] * extent[:, 1]], axis=1)
    face = generator.choice(areas.size, count, p=(areas / areas.sum()).ravel())
    box, axis = face // 3, face % 3
    place = generator.uniform(0, 1, (count, 3))
    place[np.arange(count), axis] = generator.integers(0, 2, count)
    return boxes[box, 0] + place * extent[box]


def look(center: Array, target: Array) -> Array:
    """Returns the (4, 4) camera_from_world of a camera at center that sees target in its middle, z up."""
    forward = (target - center) / np.linalg.norm(target - center)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, -rotation @ center
    return pose


def depth_of(boxes: Array, camera: Camera) -> Tensor:
    """Returns (H, W) float32 exact z-depth: where each ray leaves the room or first enters a piece of furniture."""
    u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    pixels = np.stack([u, v, np.ones_like(u)]).reshape(3, -1)
    rays = (camera.camera_from_world[:3, :3].T @ torch.linalg.inv(camera.intrinsics)).numpy() @ pixels  # z-depth 1
    crossings = (boxes[:, :, :, None] - camera.center_world.numpy()[:, None]) / rays  # (box, low/high, axis, ray)
    enter, leave = crossings.min(1).max(1), crossings.max(1).min(1)
    enter[(enter > leave) | (enter < 0)] = np.inf
    nearest = np.minimum(enter[1:].min(0), leave[0])  # the first box is the room, seen from inside
    return torch.from_numpy(nearest.reshape(camera.height, camera.width).astype(np.float32))


def make_walk() -> Walk:
    generator = np.random.default_rng(0)
    boxes = np.concatenate([ROOM_M[None], furniture(generator)])
    scene = Scene(torch.from_numpy(surface_points(boxes, POINTS, generator)).float(), name="box")
    intrinsics = torch.tensor([[FOCAL, 0, WIDTH / 2 - 0.5], [0, FOCAL, HEIGHT / 2 - 0.5], [0, 0, 1]])
    views = []
    for index, angle in enumerate(np.linspace(0, 2 * np.pi, VIEWS, endpoint=False)):
        direction = np.array([np.cos(angle), np.sin(angle), 0.0])
        center = ROOM_M.mean(0) - direction * [1.5, 1.0, 0.0] + [0.0, 0.0, 0.7]
        pose = torch.from_numpy(look(center, center + direction - [0.0, 0.0, 0.35]))
        views.append(View(f"{index:05d}", Camera(intrinsics, pose, WIDTH, HEIGHT), read_color=lambda: torch.zeros(0)))
    return Walk(scene, views, [depth_of(boxes, view.camera) for view in views])


class OpenSceneStyle:
    """Fusion in OpenScene's manner: everything is computed for every point, and masked at the end."""

    def __init__(self, scene: Scene, channels: int) -> None:
        self.points = np.concatenate([scene.points.double().numpy(), np.ones((len(scene), 1))], axis=1)
        self.sums = torch.zeros(len(scene), channels)
        self.count = torch.zeros(len(scene), 1)

    def mapping(self, camera: Camera, depth_map: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, y, z, _ = camera.camera_from_world.numpy() @ self.points.T
        (fx, _, cx), (_, fy, cy), _ = camera.intrinsics.tolist()
        with np.errstate(divide="ignore", invalid="ignore"):
            u, v = np.round(x * fx / z + cx).astype(int), np.round(y * fy / z + cy).astype(int)
        border = SCANNET_RULE.border_px
        mask = (u >= border) & (v >= border) & (u < camera.width - border) & (v < camera.height - border)
        depth = depth_map.numpy()[v[mask], u[mask]]
        mask[mask] = np.abs(depth - z[mask]) <= SCANNET_RULE.depth_tolerance_ratio * depth
        u[~mask], v[~mask] = 0, 0
        return torch.from_numpy(u), torch.from_numpy(v), torch.from_numpy(mask)

    def add(self, view: View, channel_first: Tensor, depth_map: Tensor) -> None:
        u, v, mask = self.mapping(view.camera, depth_map)
        features = channel_first[:, v, u].permute(1, 0)
        self.count[mask] += 1
        self.sums[mask] += features[mask]


class PlainGather:
    """The best that a few lines of torch do: visible rows of a channel-last map, added where they belong."""

    def __init__(self, scene: Scene, channels: int) -> None:
        self.points = scene.points.double()
        self.sums = torch.zeros(len(scene), channels)
        self.count = torch.zeros(len(scene))

    def add(self, view: View, channel_last: Tensor, depth_map: Tensor) -> None:
        camera, border = view.camera, SCANNET_RULE.border_px
        pose = camera.camera_from_world
        uz, vz, z = camera.intrinsics @ (pose[:3, :3] @ self.points.T + pose[:3, 3:])
        u, v = (uz / z).round(), (vz / z).round()
        inside = (z > 0) & (u >= border) & (v >= border) & (u < camera.width - border) & (v < camera.height - border)
        ids = inside.nonzero().squeeze(1)
        pixel = (v[ids] * camera.width + u[ids]).long()
        depth = depth_map.view(-1)[pixel]
        visible = (depth - z[ids]).abs() <= SCANNET_RULE.depth_tolerance_ratio * depth
        ids, pixel = ids[visible], pixel[visible]
        rows = channel_last.reshape(-1, channel_last.shape[-1]).index_select(0, pixel)
        self.sums.index_add_(0, ids, rows.float())
        self.count[ids] += 1


def stepping(walk: Walk, add: Callable[[View, Tensor, Tensor], object], maps: list[Tensor]) -> Callable[[], None]:
    """Returns a function that adds the walk's next frame each time it is called."""
    frames = itertools.cycle(zip(walk.views, itertools.cycle(maps), walk.depth_maps))

    def step() -> None:
        view, feature_map, depth_map = next(frames)
        add(view, feature_map, depth_map)

    return step


def verify(walk: Walk, maps: list[Tensor], channels: int) -> None:
    """Raises unless all three give the same features over a few frames."""
    sides = [FusionAccumulator(walk.scene, channels, SCANNET_RULE), PlainGather(walk.scene, channels)]
    openscene = OpenSceneStyle(walk.scene, channels)
    for view, feature_map, depth_map in zip(walk.views[:MAPS], maps, walk.depth_maps, strict=False):
        for side in sides:
            side.add(view, feature_map, depth_map)
        openscene.add(view, feature_map.permute(2, 0, 1).contiguous(), depth_map)
    ours, plain = sides[0].result(), sides[1]
    for other in (plain, openscene):
        count = other.count.view(-1, 1)
        torch.testing.assert_close(ours.count.float(), count.squeeze(1), rtol=0, atol=0)
        torch.testing.assert_close(ours.features, other.sums / count.clamp(min=1), rtol=0, atol=1e-4)


def time_rows(walk: Walk, channels: int, runs: int) -> list[measure.Row]:
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(HEIGHT, WIDTH, channels, generator=generator).half() for _ in range(MAPS)]
    verify(walk, maps, channels)
    planes = [feature_map.permute(2, 0, 1).contiguous() for feature_map in maps]
    rule, scene = SCANNET_RULE, walk.scene
    openscene = stepping(walk, OpenSceneStyle(scene, channels).add, planes)
    last = measure.compare(
        f"C={channels}, channel-last maps",
        {
            "ours": stepping(walk, FusionAccumulator(scene, channels, rule).add, maps),
            "plain": stepping(walk, PlainGather(scene, channels).add, maps),
            "openscene": openscene,
        },
        aim=10.0,
        against="peer",
        runs=runs,
    )
    permuted = [plane.permute(1, 2, 0) for plane in planes]
    plain = PlainGather(scene, channels)
    first = measure.compare(
        f"C={channels}, channel-first maps, transposition counted",
        {
            "ours": stepping(walk, FusionAccumulator(scene, channels, rule).add, permuted),
            "plain": stepping(walk, lambda view, m, depth: plain.add(view, m.contiguous(), depth), permuted),
            "openscene": openscene,
        },
        aim=1 / 1.5,
        runs=runs,
    )
    return [
        last,
        replace(last, case=f"C={channels}, channel-last maps, against plain", aim=1 / 1.5, against="plain"),
        first,
    ]


def peak_row(walk: Walk, channels: int) -> measure.Row:
    """Returns the row of memory: accumulator and one frame are allocated, filled and used inside what is measured."""

    def fuse() -> object:
        accumulator = FusionAccumulator(walk.scene, channels, SCANNET_RULE)
        feature_map = torch.ones(HEIGHT, WIDTH, channels, dtype=torch.float16)
        for view, depth_map in zip(walk.views[:MAPS], walk.depth_maps, strict=False):
            accumulator.add(view, feature_map, depth_map)
        return accumulator.result()

    fuse()
    peak = measure.peak_bytes(fuse)
    if peak is None:
        raise SystemExit("this system does not tell the peak of resident memory")
    least = len(walk.scene) * (channels + 1) * 4 + HEIGHT * WIDTH * channels * 2
    return measure.sizes(
        f"C={channels}, peak of accumulator + one frame", ours=peak, limit=least, aim=1 / 1.3, against="limit"
    )


def main() -> None:
    options = measure.start(__doc__)
    walk = make_walk()
    rows = []
    for channels in (512, 768):
        rows += [*time_rows(walk, channels, max(options.runs, VIEWS)), peak_row(walk, channels)]
    measure.report("fusion", rows, as_json=options.json)


if __name__ == "__main__":
    main()
