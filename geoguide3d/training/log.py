"""The log of a training: training.jsonl, the same for the same run however often it was stopped, and TensorBoard."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from geoguide3d.store.atomic import atomic_file

Entry = dict[str, float]


class TrainingLog:
    """Means of what every step measured, one line per `every` steps.

    Lines hold no times, so that the same run writes the same bytes; steps per second go to the progress bar and to
    TensorBoard.

    Args:
        path: of the JSON lines; None writes nothing.
        every: steps between two lines.
        tensorboard: folder of the TensorBoard log; None writes none.

    Attributes:
        entries: the lines so far.
    """

    def __init__(self, path: Path | None = None, every: int = 20, tensorboard: Path | None = None) -> None:
        self.entries: list[Entry] = []
        self._path, self._every = path, every
        self._pending: dict[str, list[float]] = {}
        self._tensorboard = tensorboard
        self._board: Any = None

    def add(self, step: int, terms: Mapping[str, float], rate: float, last: bool) -> None:
        """Takes what step number `step`, counted from 1, measured; a scene may lack a term, then so does its step."""
        for name, value in terms.items():
            self._pending.setdefault(name, []).append(value)
        if step % self._every == 0 or last:
            means = {name: math.fsum(values) / len(values) for name, values in self._pending.items()}
            self._pending.clear()
            self.write({"step": step, **means, "learning_rate": rate})

    def write(self, entry: Entry) -> None:
        """Appends a line.

        Raises:
            OSError: it cannot be written; names the file.
        """
        self.entries.append(entry)
        if self._path is not None:
            try:
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(entry) + "\n")
            except OSError as error:
                raise OSError(
                    f"{self._path}: cannot be written ({error.strerror}); free space and start again"
                ) from error
        self._show(entry)

    def show(self, step: int, **values: float) -> None:
        """Sends to TensorBoard what the lines do not hold, such as times."""
        self._show({"step": step, **values})

    def state_dict(self) -> dict[str, Any]:
        """Returns the lines and what waits for the next one."""
        return {"entries": self.entries, "pending": self._pending}

    def restart(self, step: int = 0, state: dict[str, Any] | None = None) -> None:
        """Goes back to a state of `state_dict` after that step, or to an empty log, and makes the files say so.

        Raises:
            ModuleNotFoundError: a TensorBoard log is asked for, and tensorboard is not installed.
        """
        self.entries, self._pending = ([], {}) if state is None else (state["entries"], state["pending"])
        if self._path is not None:
            with atomic_file(self._path) as temporary:
                temporary.write_text("".join(json.dumps(entry) + "\n" for entry in self.entries), encoding="utf-8")
        if self._tensorboard is not None:
            self._board = _summary_writer(self._tensorboard, step + 1)

    def close(self) -> None:
        """Writes what TensorBoard still holds back."""
        if self._board is not None:
            self._board.close()

    def _show(self, entry: Entry) -> None:
        if self._board is not None:
            for name in entry.keys() - {"step"}:
                self._board.add_scalar(name, entry[name], int(entry["step"]))


def _summary_writer(folder: Path, first_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "a TensorBoard log needs tensorboard: pip install 'geoguide3d[tensorboard]'"
        ) from None
    return SummaryWriter(folder, purge_step=first_step)
