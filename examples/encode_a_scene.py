"""Encodes a point cloud with the handcrafted descriptors: no image, no checkpoint, no download.

    python examples/encode_a_scene.py [SCENE.ply]

Without a file it furnishes a procedural room.
"""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path

from geoguide3d.backbones.loading import load_backbone
from geoguide3d.scenes.scene import Scene


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    scene = _scene()
    backbone = load_backbone("descriptors", {}, weights=None)
    start = time.perf_counter()
    features = backbone.encode(scene)
    seconds = time.perf_counter() - start
    print(f"{scene.name}: {len(scene):,} points × {backbone.channels} features in {seconds:.1f} s")
    print(f"mean {features.mean():.3f}, largest {features.abs().max():.1f}, {features.nbytes / 2**20:.0f} MiB")


def _scene() -> Scene:
    if len(sys.argv) > 1:
        from geoguide3d.scenes.point_files import read_scene

        return read_scene(Path(sys.argv[1]))
    from geoguide3d.scenes.rooms import make_room

    return make_room(seed=0).scene()


if __name__ == "__main__":
    main()
