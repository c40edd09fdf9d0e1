"""Ask a scene questions in words, and write a coloured point cloud, a picture and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from geoguide3d.backbones.cached import EncodingSettings
from geoguide3d.cli.settings import POSITIONAL, command, parse_settings
from geoguide3d.query.export import export_answer
from geoguide3d.query.model import GeoGuide
from geoguide3d.scenes.orientation import with_up
from geoguide3d.scenes.point_files import read_scene
from geoguide3d.store.atomic import atomic_file

EXAMPLES = """examples:
  geoguide3d query room.ply "a red chair" "something to sit on" --model outputs/model --output outputs/answer
  geoguide3d query lounge.ply couch "potted plant" --model outputs/lounge --output outputs/answer --up 0,1,0

Written are <scene>.ply (overlays the input; a score per prompt and point), <scene>.png, <scene>.json and the resolved
options, <scene>.yaml.
"""


@dataclass(frozen=True)
class QuerySettings:
    """Finds what words mean in a point cloud or mesh, with a model that `geoguide3d distill` wrote.

    Args:
        scene: point file (.ply, .pcd, .obj, .glb, .npz), or a folder that holds one.
        prompts: what to look for, asked as written; several words of one prompt need quotes.
        model: the model folder.
        output: folder for the answer.
        up: x,y,z, the direction that is up in the scene; by default from the file, or estimated and logged.
        backbone: checkpoint of the 3D backbone, where it has one and $GEOGUIDE3D_WEIGHTS does not hold it.
        encoding: --encoding.cache FOLDER keeps the backbone's features; --encoding.tiles.core-m METRES cuts large
            scenes; --encoding.device cuda runs the network on a GPU.
    """

    scene: Path = field(metadata=POSITIONAL)
    prompts: tuple[str, ...] = field(metadata=POSITIONAL)
    model: Path
    output: Path
    up: tuple[float, float, float] | None = None
    backbone: Path | None = None
    encoding: EncodingSettings = field(default_factory=EncodingSettings)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    settings, resolved = parse_settings(QuerySettings, argv, EXAMPLES)
    with command("geoguide3d query"):
        model = GeoGuide.from_pretrained(settings.model, settings.backbone, settings.encoding)
        model.text_vectors(settings.prompts)  # an unknown word is told before the scene is read
        scene = read_scene(settings.scene)
        if scene.source is not None and scene.source.parent.resolve() == settings.output.resolve():
            raise ValueError(f"--output {settings.output} is the folder of the scene itself; name another one")
        scene = with_up(scene, None if settings.up is None else torch.tensor(settings.up))
        result = model.query(scene, settings.prompts)
        described = {
            "model": str(settings.model),
            "mask_rule": asdict(model.config.mask_rule),
            "versions": model.config.versions,
        }
        written = export_answer(settings.output, scene, result, described)
        with atomic_file(settings.output / f"{scene.name}.yaml") as path:
            path.write_text(resolved, encoding="utf-8")
    for prompt, mask in zip(result.prompts, result.masks.T, strict=True):
        print(f"{prompt}: {int(mask.sum()):,} of {len(scene):,} points")
    print("wrote " + " ".join(str(path) for path in written))
    return 0
