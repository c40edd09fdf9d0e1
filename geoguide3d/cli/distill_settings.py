"""What can be set when distilling."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from geoguide3d.backbones.cached import EncodingSettings
from geoguide3d.backbones.weights import BackboneRecord
from geoguide3d.distillation.distill import TrainingSettings
from geoguide3d.distillation.lessons import CaptureSettings
from geoguide3d.encoders.loading import TeacherSettings, TextSettings
from geoguide3d.fusion.settings import FusionSettings
from geoguide3d.query.config import MaskRule


@dataclass(frozen=True)
class ValidationSettings:
    """What is measured while training, on scenes that are not learnt from.

    Args:
        scene_list: of labelled scenes; None measures nothing.
        classes: text file with one class name per line; label 0 is the first line.
        every: steps from one measurement to the next.
    """

    scene_list: Path | None = None
    classes: Path | None = None
    every: int = 100


def read_class_names(path: Path | None) -> list[str]:
    """Returns the names of a file of class names, in the order of their labels.

    Raises:
        ValueError: no file, an empty line, or no name at all.
    """
    if path is None or not path.is_file():
        raise ValueError(f"--validation.classes {path}: name a text file with one class name per line")
    names = [line.strip() for line in path.read_text(encoding="utf-8").rstrip().splitlines()]
    if not all(names) or not names:
        number = names.index("") + 1 if names else 1
        raise ValueError(f"{path}:{number}: a class name is missing; a label is the number of its line, from 0")
    return names


@dataclass(frozen=True)
class DistillSettings:
    """Teaches an adapter on a frozen 3D backbone what a 2D encoder says about the images of posed RGB-D scenes.

    Args:
        scene_list: text file, one scene folder per line: a name under --data-root, or a path from the list's folder.
        output: folder for the model; an earlier model there is replaced, and a run that was stopped goes on.
        data_root: folder of the names in the scene list.
        up: x,y,z, the direction that is up in all scenes; by default from the file or estimated per scene and logged.
        overwrite: also replace an output folder that holds other things, or a run that was stopped.
        capture: how scenes and frames are read.
        teacher: the 2D encoder.
        text: the text encoder, of the teacher's text space.
        fusion: how pixels become points.
        backbone: the frozen 3D features; the default, RoomNet's and handcrafted ones, comes with the package.
        backbone_weights: its checkpoint, where it has one.
        encoding: how its features are computed and kept; --encoding.cache FOLDER computes those of a scene once.
        training: how the adapter learns.
        validation: what is measured meanwhile.
        mask_rule: what the model will take for an answer to a prompt.
        prompt_template: how class names become prompts in evaluations.
    """

    scene_list: Path
    output: Path
    data_root: Path | None = None
    up: tuple[float, float, float] | None = None
    overwrite: bool = False
    capture: CaptureSettings = field(default_factory=CaptureSettings)
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    text: TextSettings = field(default_factory=TextSettings)
    fusion: FusionSettings = field(default_factory=FusionSettings)
    backbone: BackboneRecord = field(default_factory=lambda: BackboneRecord("room_net_with_descriptors"))
    backbone_weights: Path | None = None
    encoding: EncodingSettings = field(default_factory=EncodingSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    validation: ValidationSettings = field(default_factory=ValidationSettings)
    mask_rule: MaskRule = field(default_factory=MaskRule)
    prompt_template: str = "a {}"
