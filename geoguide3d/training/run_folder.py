"""The folder of one training: its checkpoint, its log, and the lock that keeps a second run out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from geoguide3d.store.atomic import remove_leftovers
from geoguide3d.store.lock import LOCK_FILE, locked_folder
from geoguide3d.training.processes import Processes

CHECKPOINT_FILE, LOG_FILE, TENSORBOARD_FOLDER = "checkpoint.pt", "training.jsonl", "tensorboard"
RUN_FILES = (CHECKPOINT_FILE, LOG_FILE, TENSORBOARD_FOLDER, LOCK_FILE)


@dataclass(frozen=True)
class RunFolder:
    """Where a training keeps what it needs to go on; `open_run` gives it.

    Args:
        path: of the folder.
    """

    path: Path

    @property
    def checkpoint(self) -> Path:
        """Where the checkpoint is, or will be."""
        return self.path / CHECKPOINT_FILE

    @property
    def log(self) -> Path:
        """Where the log is, or will be."""
        return self.path / LOG_FILE

    @property
    def tensorboard(self) -> Path:
        """Folder of the TensorBoard log."""
        return self.path / TENSORBOARD_FOLDER


@contextmanager
def open_run(path: Path, processes: Processes) -> Iterator[RunFolder]:
    """Gives the folder to this training alone; of several processes the first holds the lock for all.

    Raises:
        ValueError: another run is at work in it.
    """
    if not processes.writes:
        yield RunFolder(path)
        return
    with locked_folder(path) as folder:
        run = RunFolder(folder)
        remove_leftovers(run.checkpoint)
        remove_leftovers(run.log)
        yield run
