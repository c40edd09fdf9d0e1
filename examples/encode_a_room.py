"""Encodes a room with a frozen backbone and shows what its features hold: a cloud and a picture in their colours.

    python examples/encode_a_room.py [SCENE.ply] [--backbone NAME] [--weights FILE] [--output features]

Without a scene it furnishes a procedural room; without weights it takes RoomNet. The colours are
the first three principal components of the features: what has one colour is alike to the backbone.
"""

from __future__ import annotations

import argparse
import logging
import resource
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize

from geoguide3d.backbones.loading import load_backbone
from geoguide3d.ops import voxel_hash
from geoguide3d.query.picture import draw_colors
from geoguide3d.scenes.orientation import with_up
from geoguide3d.scenes.ply import write_ply
from geoguide3d.scenes.point_files import read_scene
from geoguide3d.scenes.rooms import make_room

SAMPLED = 2000  # points whose pairs are compared


def main(argv: list[str] | None = None) -> None:
    options = _options(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    scene = with_up(read_scene(options.scene) if options.scene else make_room(seed=0).scene())
    backbone = load_backbone(options.backbone, {}, options.weights, options.device)
    voxels = len(voxel_hash(scene.points, backbone.voxel_size_m)[0])
    start = time.perf_counter()
    features = backbone.encode(scene)
    seconds = time.perf_counter() - start
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(f"{scene.name}: {len(scene):,} points in {voxels:,} voxels of {backbone.voxel_size_m} m")
    print(
        f"{backbone.name}: {backbone.channels} channels in {seconds:.1f} s; the process took {peak_gb:.2f} GB at most"
    )
    if scene.instances is not None:
        same, other = object_similarity(features, scene.instances)
        print(f"mean cosine of two points: {same:.2f} in one object, {other:.2f} in two (the room's mean taken off)")
    colors = component_colors(features)
    cloud, picture = (options.output.with_suffix(suffix) for suffix in (".ply", ".png"))
    write_ply(cloud, scene, colors=colors)
    draw_colors(scene, colors).save(picture)
    print(f"wrote {cloud} and {picture}")


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", nargs="?", type=Path)
    parser.add_argument("--backbone", default="room_net", help="room_net, descriptors, sonata, spunet …")
    parser.add_argument("--weights", type=Path, help="the backbone's checkpoint, where it has one")
    parser.add_argument("--device", help="where the network runs: cpu, cuda")
    parser.add_argument("--output", type=Path, default=Path("features"), help="of the .ply and the .png")
    return parser.parse_args(argv)


def object_similarity(features: Tensor, instances: Tensor) -> tuple[float, float]:
    """Returns the mean cosine of two sampled points of one object, and that of two points of different ones."""
    rows = (instances >= 0).nonzero().squeeze(1)
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:SAMPLED]]
    cosines = normalize(features[rows] - features.mean(dim=0), dim=1)
    cosines = cosines @ cosines.T
    same = instances[rows][:, None] == instances[rows]
    pairs = ~torch.eye(len(rows), dtype=torch.bool)
    return float(cosines[same & pairs].mean()), float(cosines[~same].mean())


def component_colors(features: Tensor) -> Tensor:
    """Returns (N, 3) colours in [0, 1]: the first three principal components, from 2nd to 98th percentile."""
    centred = features - features.mean(dim=0)
    _, axes = torch.linalg.eigh((centred.T @ centred).to(torch.float64))
    axes = axes[:, -3:].flip(1)
    axes = (
        axes * axes.gather(0, axes.abs().argmax(dim=0, keepdim=True)).sign()
    )  # eigenvectors have no sign of their own
    components = centred @ axes.to(centred.dtype)
    ordered = components.sort(dim=0).values
    low, high = (ordered[round(share * (len(ordered) - 1))] for share in (0.02, 0.98))
    return ((components - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)


if __name__ == "__main__":
    main()
