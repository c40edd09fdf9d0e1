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
class DistillSettings:
    """Teaches an adapter on a frozen 3D backbone what a 2D encoder says about the images of posed RGB-D scenes.

    Args:
        scene_list: text file, one scene folder per line: a name under --data-root, or a path from the list's folder.
        output: folder for the model; an earlier model there is replaced.
        data_root: folder of the names in the scene list.
        up: x,y,z, the direction that is up in all scenes; by default from the file or estimated per scene and logged.
        overwrite: also replace an output folder that holds other things.
        capture: how scenes and frames are read.
        teacher: the 2D encoder.
        text: the text encoder, of the teacher's text space.
        fusion: how pixels become points.
        backbone: the frozen 3D features; the default, RoomNet's and handcrafted ones, comes with the package.
        backbone_weights: its checkpoint, where it has one.
        encoding: how its features are computed and kept; --encoding.cache FOLDER computes those of a scene once.
        training: how the adapter learns.
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
    mask_rule: MaskRule = field(default_factory=MaskRule)
    prompt_template: str = "a {}"
