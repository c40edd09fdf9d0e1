"""How good are instance proposals? Class-agnostic AP and recall in held-out rooms and on real views of table tops.

Test rooms are made here (needs open3d); their shapes, layouts and textures are in no room that the settings were
chosen on. Walls, floors and ceilings are no things: their points are void, and masks on them neither help nor harm.
`connected pieces` takes floor, walls and ceiling away and proposes what then hangs together (`find_pieces`), the
largest first. `geometry` has superpoints of geometry alone, the rows below it those that distillation makes. `views`
adds how alike RoomCLIP's fused features are, of --views frames of each room's walk; RoomCLIP was trained on rooms of
this kind. Tabletop has four Kinect views without poses, so no row of views; its table counts as a thing, as its labels
say. Seconds are those of proposing alone, on one thread, with superpoints and neighbours at hand.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("GEOGUIDE3D_REQUIRE_KERNELS", "1")  # read when geoguide3d.ops is imported

import torch
from machine import this_machine
from torch import Tensor

from geoguide3d.backbones.descriptors.pieces import find_pieces
from geoguide3d.backbones.descriptors.samples import sample
from geoguide3d.distillation.guides import surface_of
from geoguide3d.encoders.room_clip import RoomClipImageEncoder
from geoguide3d.evaluation.instances import instance_overlaps, instance_scores
from geoguide3d.fusion.fuse import fuse_views
from geoguide3d.geometry.masks import PointMasks
from geoguide3d.geometry.normals import normals_from_neighbors
from geoguide3d.geometry.proposals import Surface, fused_affinity, propose_masks, touching_superpoints
from geoguide3d.scenes.point_files import read_scene
from geoguide3d.scenes.rooms import make_room
from geoguide3d.scenes.rooms.categories import CATEGORIES, STRUCTURE
from geoguide3d.scenes.scene import Scene
from geoguide3d.scenes.superpoints import superpoints_of_scene

TABLETOP = Path(__file__).parents[2] / "shared" / "data" / "tabletop"
PIECES_VOXEL_M = 0.04


@dataclass(frozen=True)
class Case:
    """A scene with the things that are to be found.

    Args:
        surface: as distillation has it, superpoints and regions by geometry and colour.
        uncolored: the same by geometry alone.
        instances: (N,) int64, -1 where there is no thing.
        affinity: (P,) of the surface's touching superpoints, or None.
    """

    scene: Scene
    surface: Surface
    uncolored: Surface
    instances: Tensor
    affinity: Tensor | None = None


@dataclass(frozen=True)
class Row:
    """One line of the table; means over scenes in the last two."""

    case: str
    ap: float
    ap50: float
    ap25: float
    recall50: float
    masks: float
    seconds: float


def case_of(scene: Scene, instances: Tensor) -> Case:
    surface = surface_of(scene, superpoints_of_scene(scene))
    by_geometry = superpoints_of_scene(replace(scene, colors=None))
    return Case(scene, surface, replace(surface, superpoints=by_geometry, colors=None), instances)


def room_case(seed: int, views: int) -> Case:
    room = make_room(seed, "test")
    scene = room.scene()
    assert scene.labels is not None and scene.instances is not None  # rooms have both
    structure = torch.isin(scene.labels, torch.tensor([CATEGORIES.index(name) for name in STRUCTURE]))
    case = case_of(scene, scene.instances.masked_fill(structure, -1))
    fused = fuse_views(scene, room.views(views), RoomClipImageEncoder.load())
    superpoints = case.surface.superpoints
    pairs = touching_superpoints(superpoints, case.surface.edges)
    return replace(case, affinity=fused_affinity(fused.features, fused.count, superpoints, pairs))


def tabletop_case(path: Path) -> Case:
    scene = read_scene(path)
    normals = normals_from_neighbors(scene.points, toward=-scene.origin_world)  # the camera stands at the origin
    scene = replace(scene, normals=normals)
    assert scene.labels is not None  # tabletop has them
    return case_of(scene, torch.where(scene.labels == 0, -1, scene.labels))


def connected_pieces(case: Case) -> PointMasks:
    samples = sample(case.scene, PIECES_VOXEL_M)
    labels = find_pieces(samples, PIECES_VOXEL_M).object_of_sample[samples.voxel_of_point]
    masks = PointMasks.from_labels(labels)
    return PointMasks(masks.offsets, masks.point_ids, masks.point_count, masks.sizes.to(torch.float32))


def geometry(case: Case) -> PointMasks:
    return propose_masks(case.uncolored)


def with_color(case: Case) -> PointMasks:
    return propose_masks(case.surface)


def with_color_and_views(case: Case) -> PointMasks:
    return propose_masks(case.surface, affinity=case.affinity)


Propose = Callable[[Case], PointMasks]
PROPOSERS: dict[str, Propose] = {
    "connected pieces": connected_pieces,
    "geometry": geometry,
    "geometry, colour": with_color,
    "geometry, colour, views": with_color_and_views,
}


def measured(name: str, cases: Sequence[Case], propose: Propose) -> Row:
    overlaps, masks, began = [], 0, time.perf_counter()
    for case in cases:
        proposed = propose(case)
        masks += len(proposed)
        overlaps.append((proposed, case.instances))
    seconds = (time.perf_counter() - began) / len(cases)
    scores = instance_scores([instance_overlaps(*pair) for pair in overlaps])
    return Row(
        name,
        scores.average_precision,
        scores.average_precision_50,
        scores.average_precision_25,
        scores.recall_50,
        masks / len(cases),
        seconds,
    )


def table(where: str, cases: Sequence[Case]) -> list[Row]:
    things = sum(len(torch.unique(case.instances[case.instances >= 0])) for case in cases)
    points = sum(len(case.scene) for case in cases) // len(cases)
    colored = sum(case.surface.count for case in cases) / len(cases)
    uncolored = sum(case.uncolored.count for case in cases) / len(cases)
    print(
        f"{where}: {len(cases)} scenes, {things} things, {points:,} points a scene, {colored:.0f} superpoints by "
        f"geometry and colour, {uncolored:.0f} by geometry alone"
    )
    print(f"{'':<28}    AP   AP50   AP25  recall  masks  seconds")
    rows = []
    for name, propose in PROPOSERS.items():
        if propose is with_color_and_views and any(case.affinity is None for case in cases):
            continue
        row = measured(f"{where}: {name}", cases, propose)
        print(
            f"{name:<28} {row.ap:.3f}  {row.ap50:.3f}  {row.ap25:.3f}   {row.recall50:.3f}  {row.masks:5.0f}  "
            f"{row.seconds:7.2f}"
        )
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--rooms", type=int, default=16, help="test rooms, seeds 0, 1, 2 …")
    parser.add_argument("--views", type=int, default=16, help="frames of each room's walk")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    if find_spec("open3d") is None:
        print("rooms: not run, they need open3d: pip install 'geoguide3d[open3d]'")
    else:
        cases = []
        for seed in range(options.rooms):
            cases.append(room_case(seed, options.views))
            print(f"\rroom {seed + 1} of {options.rooms}", end="\r", file=sys.stderr, flush=True)
        rows += table("test rooms", cases)
    if TABLETOP.is_dir():
        rows += table("tabletop", [tabletop_case(path) for path in sorted(TABLETOP.glob("*.ply"))])
    else:
        print(f"tabletop: not run, {TABLETOP} is absent")
    if options.json:
        kept = [asdict(row) for row in rows]
        print(json.dumps({"benchmark": "proposals", "machine": asdict(this_machine()), "rows": kept}))


if __name__ == "__main__":
    main()
