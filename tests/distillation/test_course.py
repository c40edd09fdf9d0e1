"""read_lessons: each process reads its share first, so that what is cached is computed once."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from geoguide3d.distillation.course import read_lessons
from geoguide3d.distillation.lessons import Lesson, LessonReader, Teacher
from geoguide3d.scenes.named_scenes import SceneFiles
from geoguide3d.training.processes import Processes

SCENES = [SceneFiles(name, Path(f"{name}.ply")) for name in "abcde"]


class Notes(Processes):
    """The second of two processes; notes where it waits for the other."""

    def __init__(self, events: list[str]) -> None:
        super().__init__()
        self.rank, self.count, self._events = 1, 2, events

    def wait(self) -> None:
        self._events.append("wait")


class Reader:
    """Reads nothing but the name."""

    def __init__(self, events: list[str]) -> None:
        self._events = events

    def read(self, files: SceneFiles, teacher: Teacher) -> Lesson:
        self._events.append(files.name)
        return cast(Lesson, f"lesson {files.name}")


def test_a_process_reads_its_share_then_waits_then_reads_the_others() -> None:
    events: list[str] = []
    reader, teacher = cast(LessonReader, Reader(events)), cast(Teacher, None)
    lessons = read_lessons(SCENES, reader, lambda files: teacher, Notes(events))
    assert lessons == [f"lesson {name}" for name in "abcde"]
    assert events == ["b", "d", "wait", "a", "c", "e", "wait"]
