"""What a model is taught: the lessons of all its scenes, and what is measured meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tqdm import tqdm

from geoguide3d.backbones.weights import BackboneRecord
from geoguide3d.distillation.lessons import Lesson, LessonReader, Teacher
from geoguide3d.distillation.validation import Validation
from geoguide3d.scenes.named_scenes import SceneFiles
from geoguide3d.training.processes import Processes

TeacherOf = Callable[[SceneFiles], Teacher]


@dataclass(frozen=True)
class Course:
    """What a model is taught, before it is trained.

    Args:
        lessons: in the order of the scene list.
        validation: what is measured meanwhile.
        backbone: what the model records of the frozen features.
    """

    lessons: list[Lesson]
    validation: Validation | None
    backbone: BackboneRecord


def read_lessons(
    scenes: Sequence[SceneFiles], reader: LessonReader, teachers: TeacherOf, processes: Processes
) -> list[Lesson]:
    """Returns the lessons in the scenes' order; what is cached is computed by one process and read by the others.

    Args:
        teachers: what teaches each scene.
        processes: each reads its share of the scenes first, and then the others.

    Raises:
        FileNotFoundError, ValueError: what `LessonReader.read` raises.
    """
    lessons: dict[int, Lesson] = {}
    with tqdm(total=len(scenes), desc="scenes", unit="scene", disable=None if processes.writes else True) as bar:
        for numbers in (range(processes.rank, len(scenes), processes.count), range(len(scenes))):
            for number in numbers:
                if number not in lessons:
                    lessons[number] = reader.read(scenes[number], teachers(scenes[number]))
                    bar.update()
            processes.wait()
    return [lessons[number] for number in range(len(scenes))]
