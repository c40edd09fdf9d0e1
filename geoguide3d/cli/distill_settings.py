"""What can be set when distilling."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from geoguide3d.backbones.cached import EncodingSettings
from geoguide3d.backbones.weights import BackboneRecord
from geoguide3d.distillation.distill import TrainingSettings
from geoguide3d.distillation.guides import Guides, MaskSettings
from geoguide3d.distillation.lessons import CaptureSettings
from geoguide3d.distillation.objective import ObjectiveSettings, preset
from geoguide3d.encoders.label_sets import LABEL_SETS, LabelSet
from geoguide3d.encoders.loading import TeacherSettings, TextSettings
from geoguide3d.encoders.prompts import class_prompt
from geoguide3d.fusion.fused_files import FusedFileSettings
from geoguide3d.fusion.settings import FusionSettings
from geoguide3d.geometry.superpoints import SuperpointSettings
from geoguide3d.query.config import MaskRule
from geoguide3d.scenes.named_scenes import SceneFiles, ScenePatterns, read_named_scenes
from geoguide3d.scenes.scene_list import read_scene_list


@dataclass(frozen=True)
class ValidationSettings:
    """What is measured while training, on scenes that are not learnt from.

    Args:
        scene_list: of labelled scenes; None measures nothing.
        classes: text file with one class name per line; label 0 is the first line.
        label_set: instead of a file: scannet_20, matterport_21, matterport_40, matterport_80, matterport_160 or
            nuscenes_16.
        every: steps from one measurement to the next.
    """

    scene_list: Path | None = None
    classes: Path | None = None
    label_set: str | None = None
    every: int = 100

    def prompts(self, template: str) -> list[str]:
        """Returns what is asked for, in the order of the labels, or of the finer words where `finer` is a label set.

        Raises:
            ValueError: neither or both of file and set, a label set that is not known, or a broken file.
        """
        if (self.classes is None) == (self.label_set is None):
            raise ValueError("name the classes by either --validation.classes FILE or --validation.label-set NAME")
        if self.label_set is None:
            return [class_prompt(name, template) for name in read_class_names(self.classes)]
        if self.label_set not in LABEL_SETS:
            raise ValueError(f"--validation.label-set {self.label_set}: known are {', '.join(LABEL_SETS)}")
        labels = LABEL_SETS[self.label_set]
        return labels.prompts(template, openscene_compat=True, detailed=self.finer is not None)

    @property
    def finer(self) -> LabelSet | None:
        """The label set, where the benchmark asks for its details and joins them to classes (nuScenes)."""
        labels = LABEL_SETS.get(self.label_set or "")
        return labels if labels is not None and labels.details else None


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
        scene_list: text file, one scene per line: a folder by its name under --data-root, or by a path from the list's
            folder; with --scenes.points a name.
        output: folder for the model; an earlier model there is replaced, and a run that was stopped goes on.
        data_root: folder of the names in the scene list and of all patterns.
        scenes: of data sets that keep a scene's files in several folders: patterns of paths with {scene}.
        up: x,y,z, the direction that is up in all scenes; by default from the file or estimated per scene and logged.
        overwrite: also replace an output folder that holds other things, or a run that was stopped.
        capture: how scenes and frames are read.
        teacher: the 2D encoder.
        fused_features: what others fused from images already; takes the place of teacher, fusion and frames.
        text: the text encoder, of the teacher's text space.
        fusion: how pixels become points.
        fused_cache: folder in which the fused features of every scene are kept and found again; by default each process
            computes them each time.
        backbone: the frozen 3D features; the default, RoomNet's and handcrafted ones, comes with the package.
        backbone_weights: its checkpoint, where it has one.
        encoding: how its features are computed and kept; --encoding.cache FOLDER computes those of a scene once.
        superpoints: how they are made where `scenes.superpoints` names no files.
        masks: how instances are proposed, or read where `scenes.masks` names files.
        preset: the losses: plain (points alone), sas (superpoints), paper (GeoGuide's equations) or recommended.
        objective: the losses in full; takes the place of preset.
        training: how the adapter learns.
        validation: what is measured meanwhile.
        mask_rule: what the model will take for an answer to a prompt.
        prompt_template: how class names become prompts in evaluations.
    """

    scene_list: Path
    output: Path
    data_root: Path | None = None
    scenes: ScenePatterns = field(default_factory=ScenePatterns)
    up: tuple[float, float, float] | None = None
    overwrite: bool = False
    capture: CaptureSettings = field(default_factory=CaptureSettings)
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    fused_features: FusedFileSettings | None = None
    text: TextSettings = field(default_factory=TextSettings)
    fusion: FusionSettings = field(default_factory=FusionSettings)
    fused_cache: Path | None = None
    backbone: BackboneRecord = field(default_factory=lambda: BackboneRecord("room_net_with_descriptors"))
    backbone_weights: Path | None = None
    encoding: EncodingSettings = field(default_factory=EncodingSettings)
    superpoints: SuperpointSettings = field(default_factory=SuperpointSettings)
    masks: MaskSettings = field(default_factory=MaskSettings)
    preset: Literal["plain", "sas", "paper", "recommended"] = "recommended"
    objective: ObjectiveSettings | None = None
    training: TrainingSettings = field(default_factory=TrainingSettings)
    validation: ValidationSettings = field(default_factory=ValidationSettings)
    mask_rule: MaskRule = field(default_factory=MaskRule)
    prompt_template: str = "a {}"

    def __post_init__(self) -> None:
        if self.scenes.points and self.data_root is None:
            raise ValueError("--scenes.points names files under --data-root: give --data-root FOLDER too")
        if self.fused_features is not None and not self.scenes.points:
            raise ValueError("--fused-features finds files by the names of scenes: give --scenes.points too")
        if self.fused_features is not None and self.fused_cache is not None:
            raise ValueError(
                "--fused-cache keeps what is fused from frames, --fused-features are files already: name one"
            )
        for option, kept in (
            ("encoding.cache", self.encoding.cache),
            ("fused-cache", self.fused_cache),
            ("capture.targets-folder", self.capture.targets_folder),
        ):
            if kept is not None and kept.resolve().is_relative_to(self.output.resolve()):
                raise ValueError(f"--{option} {kept} lies in --output, where a run removes what is there; name another")

    @property
    def losses(self) -> ObjectiveSettings:
        """What is minimised."""
        return self.objective or preset(self.preset)

    @property
    def guides(self) -> Guides:
        """The superpoints and masks that the losses need."""
        losses = self.losses
        masks = self.masks if losses.needs_masks else None
        return Guides(self.superpoints if losses.needs_superpoints or masks else None, masks)

    def scene_files(self, scene_list: Path) -> list[SceneFiles]:
        """Returns the scenes of a list, in its order.

        Raises:
            FileNotFoundError, ValueError: what `read_scene_list` and `read_named_scenes` raise.
        """
        if self.scenes.points:
            assert self.data_root is not None  # checked above
            return read_named_scenes(scene_list, self.data_root, self.scenes)
        paths = read_scene_list(scene_list, self.data_root)
        return [SceneFiles(path.name if path.is_dir() else path.stem, path) for path in paths]
