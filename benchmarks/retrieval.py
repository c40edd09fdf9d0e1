"""Are things of one category close together? Retrieval in held-out rooms: RoomNet, random weights, descriptors, chance.

Test rooms are made here (needs open3d); their shapes, layouts and textures are in no room that anything was trained
on. A thing is every instance with at least 30 points that is no wall, floor or ceiling; its vector is the mean of its
points' features. Each is a query against all things of the other rooms, ranked by cosine. mAP is the mean over
queries, macro the mean over categories. Standardised: every channel of mean 0 and deviation 1 over these things.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from importlib.util import find_spec

os.environ.setdefault("GEOGUIDE3D_REQUIRE_KERNELS", "1")  # read when geoguide3d.ops is imported

import torch
from machine import this_machine

from geoguide3d.backbones.descriptors import Descriptors
from geoguide3d.backbones.protocol import FrozenBackbone
from geoguide3d.backbones.room_net.backbone import RoomNet
from geoguide3d.backbones.room_net.network import RoomNetConfig, RoomNetwork
from geoguide3d.backbones.room_net.with_descriptors import RoomNetWithDescriptors
from geoguide3d.cli.room_retrieval import things_of
from geoguide3d.evaluation.retrieval import RetrievalScores, retrieval_scores
from geoguide3d.ops.allocator import keep_freed_memory
from geoguide3d.scenes.rooms import make_room


def untrained() -> RoomNet:
    """Returns RoomNet with random weights."""
    config = RoomNetConfig()
    torch.manual_seed(0)
    return RoomNet(RoomNetwork(config), config.voxel_size_m)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--rooms", type=int, default=16, help="test rooms, seeds 0, 1, 2 … (docs/room_net.md: 40)")
    options = parser.parse_args()
    if find_spec("open3d") is None:
        print("retrieval: not run, the rooms need open3d: pip install 'geoguide3d[open3d]'")
        return
    keep_freed_memory()
    scenes = []
    for seed in range(options.rooms):
        scenes.append(make_room(seed, "test").scene())
        print(f"\rroom {seed + 1} of {options.rooms}", end="", file=sys.stderr, flush=True)
    backbones: dict[str, FrozenBackbone] = {
        "RoomNet": RoomNet.load(),
        "RoomNet, random weights": untrained(),
        "descriptors": Descriptors(),
        "RoomNet with descriptors": RoomNetWithDescriptors(),
    }
    found: dict[str, RetrievalScores] = {}
    for name, backbone in backbones.items():
        print(f"\r{name}", end=" " * 20, file=sys.stderr, flush=True)
        things = things_of(backbone, scenes)
        found[name] = retrieval_scores(things)
        found[f"{name}, standardised"] = retrieval_scores(things.standardized())
    print(file=sys.stderr)
    scores = found["RoomNet"]
    print(f"{options.rooms} test rooms, {scores.queries} queries    mAP  macro")
    for name, row in found.items():
        print(f"{name:<36} {row.mean_average_precision:.3f}  {row.category_average_precision:.3f}")
    print(f"{'chance':<36} {scores.chance:.3f}")
    if options.json:
        rows = [{"case": name} | asdict(row) for name, row in found.items()]
        print(json.dumps({"benchmark": "retrieval", "machine": asdict(this_machine()), "rows": rows}))


if __name__ == "__main__":
    main()
