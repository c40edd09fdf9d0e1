"""How well superpoints keep to real objects and to the things of procedural rooms, with and without colour.

Tabletop: four Kinect views of ../shared/data/tabletop as bare clouds, judged by their labels (table, objects). Rooms:
procedural test rooms (they need open3d) as bare clouds with normals, judged by their instances. Lounge: a real mesh of
../shared/data/lounge without labels, so only counted. Numbers are means over the scenes; the boundary is judged on the
graph of neighbours within one ring (geoguide3d.evaluation.superpoints). "As many" moves k_threshold alone until there
are as many superpoints as in the row before, as nearly as that goes. "Sided" weighs convex and concave folds apart, as
the published variant for points does, with normals as `ensure_normals` gives them: those of rooms are exact, those of
tables face the middle of the cloud. Seconds are those of `superpoints_of_scene`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean
from typing import Any

os.environ.setdefault("GEOGUIDE3D_REQUIRE_KERNELS", "1")  # read when geoguide3d.ops is imported

from machine import this_machine
from torch import Tensor

from geoguide3d.evaluation.superpoints import superpoint_scores
from geoguide3d.geometry.superpoints import (
    SuperpointSettings,
    color_differences,
    local_normals,
    neighbor_edges,
    superpoints_of_cloud,
    unsided_weights,
)
from geoguide3d.ops import felzenszwalb
from geoguide3d.ops.allocator import keep_freed_memory
from geoguide3d.scenes.orientation import ensure_normals
from geoguide3d.scenes.ply import read_ply
from geoguide3d.scenes.rooms import make_room
from geoguide3d.scenes.scene import Scene
from geoguide3d.scenes.superpoints import superpoints_of_scene

DATA = Path(__file__).parents[2] / "shared" / "data"
TABLETOP_NONE, NO_INSTANCE = 0, -1
COLORED, BARE = SuperpointSettings(color_weight=1.0), SuperpointSettings(color_weight=0.0)
OVER, UNDER = {"k_threshold": 0.001, "min_size": 20}, {"k_threshold": 0.5, "min_size": 300}
STEPS = 10  # of the search for a k_threshold


@dataclass
class Case:
    """A labelled cloud; its edges and weights are made once, because the search for equal numbers asks often."""

    scene: Scene
    labels: Tensor
    ignored: int

    @cached_property
    def edges(self) -> Tensor:
        return neighbor_edges(self.scene.points)

    @cached_property
    def weights(self) -> tuple[Tensor, Tensor]:
        """Of geometry and of colours."""
        assert self.scene.colors is not None
        normals = local_normals(self.scene.points) if self.scene.normals is None else self.scene.normals
        return unsided_weights(normals, self.edges), color_differences(self.scene.colors, self.edges)

    def cut(self, settings: SuperpointSettings) -> Tensor:
        geometry, color = self.weights
        weights = geometry + (settings.color_weight or 0.0) * color
        return felzenszwalb(self.edges, weights, len(self.scene), settings.k_threshold, settings.min_size)

    def cut_into(self, count: int, settings: SuperpointSettings) -> Tensor:
        """Returns the superpoints whose number is nearest to count, k_threshold being free from 1e-6 to 100."""
        low, high = math.log(1e-6), math.log(100.0)
        tries = []
        for _ in range(STEPS):
            middle = (low + high) / 2
            superpoints = self.cut(replace(settings, k_threshold=math.exp(middle)))
            found = int(superpoints.max()) + 1
            tries.append((abs(found - count), superpoints))
            low, high = (middle, high) if found > count else (low, middle)
        return min(tries, key=lambda tried: tried[0])[1]

    def score(self, name: str, superpoints: Tensor, seconds: float | None = None) -> dict[str, Any]:
        scores = superpoint_scores(superpoints, self.labels, self.edges, self.ignored)
        largest = float(superpoints.bincount().max()) / len(superpoints)
        return {"settings": name, **asdict(scores), "largest_share": largest, "seconds": seconds}


def rows_of(case: Case) -> Iterator[dict[str, Any]]:
    """Yields the scores of one scene under each setting."""
    named = {"geometry alone": BARE, "with colour (default)": COLORED}
    made = {}
    for name, settings in named.items():
        began = time.perf_counter()
        made[name] = superpoints_of_scene(case.scene, settings)
        yield case.score(name, made[name], time.perf_counter() - began)
        other = COLORED if settings is BARE else BARE
        cue = "with colour" if settings is BARE else "geometry alone"
        yield case.score(f"  {cue}, as many", case.cut_into(int(made[name].max()) + 1, other))
    sided = superpoints_of_cloud(case.scene.points, ensure_normals(case.scene).normals, replace(BARE, sided=True))
    yield case.score("geometry alone, sided normals", sided)
    yield case.score("  geometry alone, as many", case.cut_into(int(sided.max()) + 1, BARE))
    yield case.score("with colour, min_size 20", case.cut(replace(COLORED, min_size=20)))
    yield case.score("over-segmented, with colour", case.cut(replace(COLORED, **OVER)))
    yield case.score("over-segmented, geometry alone", case.cut(replace(BARE, **OVER)))
    yield case.score("under-segmented, with colour", case.cut(replace(COLORED, **UNDER)))
    yield case.score("under-segmented, geometry alone", case.cut(replace(BARE, **UNDER)))


def tabletop() -> list[Case]:
    folder = DATA / "tabletop"
    if not folder.is_dir():
        print(f"tabletop: not run, {folder} is absent")
        return []
    scenes = [read_ply(file) for file in sorted(folder.glob("*.ply"))]
    return [Case(scene, scene.labels, TABLETOP_NONE) for scene in scenes if scene.labels is not None]


def rooms(count: int) -> list[Case]:
    if find_spec("open3d") is None:
        print("rooms: not run, they need open3d: pip install 'geoguide3d[open3d]'")
        return []
    scenes = [make_room(seed, "test").scene() for seed in range(count)]
    return [Case(scene, scene.instances, NO_INSTANCE) for scene in scenes if scene.instances is not None]


def judged(name: str, cases: Sequence[Case]) -> list[dict[str, Any]]:
    """Prints the means over the scenes and returns them."""
    per_scene = [list(rows_of(case)) for case in cases]
    means = []
    for same in zip(*per_scene, strict=True):
        mean: dict[str, Any] = {"case": name, "settings": same[0]["settings"], "scenes": len(same)}
        for key in ("purity", "label_purity", "boundary_recall", "count", "mean_size", "largest_share", "seconds"):
            mean[key] = None if same[0][key] is None else fmean(row[key] for row in same)
        means.append(mean)
    if means:
        print(f"{name}, {len(cases)} scenes".ljust(36) + "purity  per label  boundary  count  mean size  largest  s")
    for mean in means:
        seconds = "" if mean["seconds"] is None else f"{mean['seconds']:.2f}"
        print(
            f"{mean['settings']:<35} {mean['purity']:.4f}     {mean['label_purity']:.4f}     "
            f"{mean['boundary_recall']:.3f}  {mean['count']:5.0f}  {mean['mean_size']:9.0f}   "
            f"{mean['largest_share']:6.3f}  {seconds}"
        )
    return means


def counted() -> list[dict[str, Any]]:
    """Prints what the lounge gives, as a mesh and as a bare cloud, and returns it."""
    file = DATA / "lounge" / "lounge.ply"
    if not file.is_file():
        print(f"lounge: not run, {file.parent} is absent")
        return []
    mesh = read_ply(file)
    bare = replace(mesh, faces=None, normals=None)
    rows = []
    for name, scene, settings in (
        ("mesh (default)", mesh, SuperpointSettings()),
        ("mesh, min_size 20", mesh, SuperpointSettings(min_size=20)),
        ("mesh, with colour", mesh, COLORED),
        ("bare cloud (default)", bare, SuperpointSettings()),
        ("bare cloud, geometry alone", bare, BARE),
    ):
        began = time.perf_counter()
        superpoints = superpoints_of_scene(scene, settings)
        seconds = time.perf_counter() - began
        sizes = superpoints.bincount()
        largest = float(sizes.max()) / len(superpoints)
        print(
            f"lounge, {name:<27} {len(sizes):5} superpoints, the largest {largest:.3f} of the points, {seconds:.2f} s"
        )
        rows.append({"case": "lounge", "settings": name, "count": len(sizes), "largest_share": largest})
        rows[-1] |= {"mean_size": len(superpoints) / len(sizes), "seconds": seconds}
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--rooms", type=int, default=4, help="test rooms, seeds 0, 1, 2 …")
    options = parser.parse_args()
    keep_freed_memory()
    rows = judged("tabletop", tabletop()) + judged("rooms", rooms(options.rooms)) + counted()
    if options.json:
        print(json.dumps({"benchmark": "superpoints", "machine": asdict(this_machine()), "rows": rows}))


if __name__ == "__main__":
    main()
