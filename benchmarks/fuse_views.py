"""Multi-view fusion, time per frame: 150,000 points of a furnished box, 30 frames of 320 × 240 pixels, half maps.

Rows that begin with "op" time the operator alone, on points that are known to be visible:

ours        fuse_views
plain       the best plain-torch composition: gather the visible rows channel-last, index_add_, count
limit       a copy that moves as many bytes: per sighting a row of the map, and a row of sums read and written. For
            channel-first maps the whole map instead of rows, because a cache line holds many pixels

The others are end to end, on the CPU:

ours        FusionAccumulator.add, visibility included
plain       the same, the visible points found by plain torch in float64
openscene   as OpenScene does: project, gather ALL points from a channel-first map, add with a mask into N × C
peak        what fusing some frames adds to memory; its limit is the accumulator plus one frame

The op's rows run on the GPU where there is one and the CUDA kernels are built, else on the CPU.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import measure
import numpy as np
import torch
from cases.furnished_box import HEIGHT, POINTS, VIEWS, WIDTH, Walk, make_walk
from torch import Tensor

from geoguide3d.fusion.accumulator import FusionAccumulator
from geoguide3d.fusion.settings import FusionSettings
from geoguide3d.geometry.cameras import Camera
from geoguide3d.geometry.openscene import SCANNET_RULE
from geoguide3d.geometry.visibility import visible_points
from geoguide3d.ops import FusionState, Sightings, compiled, fuse_views
from geoguide3d.scenes.scene import Scene
from geoguide3d.scenes.view import View

MAPS = 3  # distinct feature maps in turn; one is larger than the caches, so more would time the same
SETTINGS = FusionSettings(rule=SCANNET_RULE)
DEVICE = "cuda" if compiled == "cuda" and torch.cuda.is_available() else "cpu"


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
    sides = [FusionAccumulator(walk.scene, channels, SETTINGS), PlainGather(walk.scene, channels)]
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
    scene = walk.scene
    openscene = stepping(walk, OpenSceneStyle(scene, channels).add, planes)
    last = measure.compare(
        f"C={channels}, channel-last maps",
        {
            "ours": stepping(walk, FusionAccumulator(scene, channels, SETTINGS).add, maps),
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
            "ours": stepping(walk, FusionAccumulator(scene, channels, SETTINGS).add, permuted),
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


class PlainState:
    """What fuse_views keeps, and how plain torch adds to it."""

    def __init__(self, channels: int) -> None:
        self.sums = torch.zeros(POINTS, channels, device=DEVICE)
        self.mass, self.spread = torch.zeros(2, POINTS, device=DEVICE)
        self.count = torch.zeros(POINTS, dtype=torch.int32, device=DEVICE)

    def add(self, channel_last: Tensor, seen: Sightings, case: Case) -> Tensor:
        flat, ids, weights = channel_last.contiguous().view(-1, channel_last.shape[-1]), seen.point_ids, seen.weights
        if case.bilinear:
            pixels, shares = neighbours(seen.uv)
            corners = [flat.index_select(0, pixel).float() for pixel in pixels]
            above, below = corners[0].lerp_(corners[1], shares[0]), corners[2].lerp_(corners[3], shares[0])
            rows = above.lerp_(below, shares[1])
        else:
            u, v = seen.uv.round().long().unbind(1)
            rows = flat.index_select(0, v * WIDTH + u).float()
        before, weight = self.mass[ids], 1 if weights is None else weights
        if case.variance:
            mean = self.sums.index_select(0, ids).div_(before.clamp(min=1e-9)[:, None])
            self.spread[ids] += weight * before / (before + weight) * mean.sub_(rows).square_().sum(1)
        self.sums.index_add_(0, ids, rows if weights is None else rows.mul_(weights[:, None]))
        self.mass[ids] += weight
        self.count[ids] += 1
        return self.sums


def neighbours(uv: Tensor) -> tuple[list[Tensor], tuple[Tensor, Tensor]]:
    """Returns the four pixels around each position, as rows of a flat map, and the shares of right and lower ones."""
    uv = torch.minimum(uv.clamp(min=0), uv.new_tensor([WIDTH - 1, HEIGHT - 1]))
    left, top = uv.long().unbind(1)
    right, bottom = (left + 1).clamp(max=WIDTH - 1), (top + 1).clamp(max=HEIGHT - 1)
    share_u, share_v = (uv - uv.floor()).float().unbind(1)
    return [y * WIDTH + x for y in (top, bottom) for x in (left, right)], (share_u[:, None], share_v[:, None])


@dataclass(frozen=True)
class Case:
    """One way to call the operator."""

    name: str
    in_planes: bool = False
    weights: bool = False
    variance: bool = False
    bilinear: bool = False

    def bytes_moved(self, feature_map: Tensor, seen: Sightings) -> int:
        """Rows of the map (the whole map where it lies in planes), and rows of sums, read and written."""
        pixels = torch.cat(neighbours(seen.uv)[0]).unique().numel() if self.bilinear else len(seen.point_ids)
        pixels = WIDTH * HEIGHT if self.in_planes else pixels
        channels = feature_map.shape[-1]
        return pixels * channels * feature_map.element_size() + len(seen.point_ids) * channels * 8


CASES = (
    Case("nearest, channel-last"),
    Case("nearest, weights and variance, channel-last", weights=True, variance=True),
    Case("bilinear, channel-last", bilinear=True),
    Case("nearest, channel-first, transposition counted", in_planes=True),
)


def op_rows(walk: Walk, channels: int, runs: int) -> list[measure.Row]:
    maps = [torch.randn(HEIGHT, WIDTH, channels, device=DEVICE).half() for _ in range(MAPS)]
    planes = [feature_map.permute(2, 0, 1).contiguous().permute(1, 2, 0) for feature_map in maps]
    points, seen = walk.scene.points.to(DEVICE), []
    for view, depth_map in zip(walk.views, walk.depth_maps, strict=True):
        visible = visible_points(points, view.camera, depth_map, SCANNET_RULE)
        seen.append(Sightings(visible.point_ids, visible.uv, weights=torch.rand(len(visible), device=DEVICE)))
    rows = []
    for case in CASES:
        sightings = seen if case.weights else [one._replace(weights=None) for one in seen]
        frames = list(zip(itertools.cycle(planes if case.in_planes else maps), sightings))
        rows += op_row(case, channels, frames, runs)
    return rows


def op_row(case: Case, channels: int, frames: list[tuple[Tensor, Sightings]], runs: int) -> list[measure.Row]:
    state, plain = FusionState.empty(POINTS, channels, variance=case.variance, device=DEVICE), PlainState(channels)
    moved = [case.bytes_moved(*frame) for frame in frames]
    source, target = torch.zeros(2, max(moved) // 2, dtype=torch.uint8, device=DEVICE)
    turns = {side: itertools.cycle(range(VIEWS)) for side in ("ours", "plain", "limit")}

    def ours() -> Tensor:
        fuse_views(state, *frames[next(turns["ours"])], (WIDTH, HEIGHT), bilinear=case.bilinear)
        return state.sums

    def copy() -> None:
        half = moved[next(turns["limit"])] // 2
        target[:half].copy_(source[:half])

    sides = {"ours": ours, "plain": lambda: plain.add(*frames[next(turns["plain"])], case), "limit": copy}
    row = measure.compare(f"op, C={channels}, {case.name}", sides, aim=1.5, runs=runs, check=agree)
    if case.in_planes:
        return [row]
    of_copy = 0.75 if DEVICE == "cuda" else 0.5
    return [row, replace(row, case=f"{row.case}, against a copy", aim=of_copy, against="limit")]


def agree(ours: Tensor, plain: Tensor) -> None:
    torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-4)


def peak_row(walk: Walk, channels: int) -> measure.Row:
    """Returns the row of memory: accumulator and one frame are allocated, filled and used inside what is measured."""

    def fuse() -> object:
        accumulator = FusionAccumulator(walk.scene, channels, SETTINGS)
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
    rows, runs = [], max(options.runs, VIEWS)
    for channels in (512, 768):
        rows += [*op_rows(walk, channels, runs), *time_rows(walk, channels, runs), peak_row(walk, channels)]
    measure.report("fuse_views", rows, as_json=options.json)


if __name__ == "__main__":
    main()
