"""Fuses a camera walk through a procedural room into per-point features, with an encoder of six lines.

    python examples/fuse_a_room.py fused_room.ply

The encoder's "feature" of a pixel is its colour, so the result can be looked at: a cloud coloured by its photographs.
Any network with per-pixel vectors takes the same place (geoguide3d/encoders/protocols.py).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from torch import Tensor

from geoguide3d.fusion.fuse import fuse_views
from geoguide3d.scenes.ply import write_ply
from geoguide3d.scenes.rooms import make_room


class ColorEncoder:
    """An ImageEncoder whose pixel features are the RGB values."""

    channels = 3
    text_space = "rgb"
    reads_images = True

    def encode_images(self, images: Sequence[Tensor | None], names: Sequence[str]) -> list[Tensor]:
        return [image.float() / 255 for image in images if image is not None]


def main(output: str) -> None:
    room = make_room(seed=0)
    scene, views = room.scene(), room.views()
    fused = fuse_views(scene, views, ColorEncoder())
    write_ply(output, scene, colors=fused.features.clamp(0, 1), extra={"views": fused.count})
    assert scene.colors is not None
    seen = fused.seen
    error = (fused.features - scene.colors).abs().mean(dim=1)[seen].median()
    print(f"{len(scene):,} points, {len(views)} views; {100 * seen.float().mean():.1f} % of the points seen,")
    print(f"each by {fused.count[seen].float().mean():.1f} views; median colour error {error:.3f} (of 1)")
    print(f"wrote {output}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "fused_room.ply")
