"""One optimiser step after another, an average of the weights, and a checkpoint now and then."""

from __future__ import annotations

import copy
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import closing
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from tqdm import tqdm

from geoguide3d.training.checkpoint import named_settings, read_checkpoint, write_checkpoint
from geoguide3d.training.log import Entry, TrainingLog
from geoguide3d.training.processes import Processes
from geoguide3d.training.run_folder import RunFolder
from geoguide3d.training.schedule import Schedule

Model = TypeVar("Model", bound=nn.Module)
_SPREAD = 0x9E3779B1  # 2^32 over the golden ratio: neighbouring parts get seeds far from each other


class Trainer(ABC, Generic[Model]):
    """Trains a model by a loss that depends on the weights, the seed and the step alone: a resumed run is the same run.

    A step has one part or more, such as scenes. Its loss is the mean over them, each is a forward and a backward pass
    of its own, and processes share them, so that several scenes per step, accumulated gradients and several processes
    are one and the same thing.

    Attributes:
        model: what is trained.
        averaged: what is kept: the moving average of its weights, in eval mode.
        step_count: steps taken.
        schedule: how.
        parts: of each step.
        processes: who share them.
    """

    def __init__(self, model: Model, schedule: Schedule, parts: int = 1, processes: Processes | None = None) -> None:
        """Takes fresh networks, on the device to train on.

        Raises:
            ValueError: more processes than parts, so that some would have nothing to do.
        """
        self.processes = Processes() if processes is None else processes
        if self.processes.count > parts:
            raise ValueError(f"{self.processes.count} processes cannot share {parts} part(s) of a step; start fewer")
        self.model = model.train()
        self.averaged = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.step_count = 0
        self.schedule = schedule
        self.parts = parts
        self._trained = [value for value in model.parameters() if value.requires_grad]
        self._optimizer = schedule.make_optimizer(self._trained)

    @abstractmethod
    def terms(self, part: int) -> Mapping[str, Tensor]:
        """Returns "loss", with a gradient, and what else is to be logged of one part of step `step_count`."""

    def measured(self) -> Entry:
        """Returns what is measured after step `step_count`, for the log; most steps measure nothing."""
        return {}

    def shown(self) -> dict[str, str]:
        """Returns what the progress bar shows besides the loss."""
        return {}

    def settings(self) -> dict[str, str]:
        """Returns by name all that a resumed run must have in common with the one it goes on with."""
        return named_settings(self.schedule)

    def generator(self, part: int = 0) -> torch.Generator:
        """Returns the random numbers of a part of step `step_count`, from their start, whichever process asks."""
        # torch's generator reads 32 bits of its seed.
        return torch.Generator().manual_seed(
            (self.schedule.seed * 1_000_003 + self.step_count + part * _SPREAD) % 2**32
        )

    def step(self) -> Entry:
        """Takes one optimiser step and returns its terms, means over the parts that have them.

        Raises:
            ValueError: the loss or its gradient is not finite; the weights are those of before.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = self.schedule.rate(self.step_count)
        self._optimizer.zero_grad(set_to_none=True)
        own: list[tuple[int, Entry]] = []
        for part in range(self.processes.rank, self.parts, self.processes.count):
            terms = self.terms(part)
            (terms["loss"] / self.parts).backward()  # type: ignore[no-untyped-call]
            own.append((part, {name: float(value.detach()) for name, value in terms.items()}))
        terms_of_step = _means([terms for _, terms in sorted(self.processes.gather(own), key=lambda pair: pair[0])])
        self._require_finite("loss", terms_of_step["loss"])
        self._add_up_gradients()
        # A finite loss may have a gradient that is not, and a checkpoint of such weights would be the end of the run.
        length = nn.utils.clip_grad_norm_(self._trained, self.schedule.longest_gradient)
        self._require_finite("length of the gradient", float(length))
        self._optimizer.step()
        self.step_count += 1
        self._average()
        return terms_of_step

    def state_dict(self) -> dict[str, Any]:
        """Returns everything that a resumed run needs."""
        return {
            "step": self.step_count,
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes back to a state of `state_dict`."""
        self.step_count = state["step"]
        self.model.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["averaged"])
        self._optimizer.load_state_dict(state["optimizer"])

    def _require_finite(self, what: str, value: float) -> None:
        if not math.isfinite(value):
            raise ValueError(
                f"step {self.step_count + 1}: the {what} is {value}; lower training.learning_rate, now "
                f"{self.schedule.learning_rate}, or look for features that are not finite"
            )

    def _add_up_gradients(self) -> None:
        for value in self._trained:
            if value.grad is None:  # what no part of this step used, though another process may have
                value.grad = torch.zeros_like(value)
        self.processes.add_up([value.grad for value in self._trained if value.grad is not None])

    @torch.no_grad()
    def _average(self) -> None:
        # Early on the average forgets faster, or the random start would stay in it.
        decay = min(self.schedule.average, self.step_count / (self.step_count + 10))
        trained = self.model.state_dict()
        for name, kept in self.averaged.state_dict().items():
            if kept.is_floating_point():
                kept.lerp_(trained[name], 1 - decay)
            else:
                kept.copy_(trained[name])


def train(trainer: Trainer[Any], run: RunFolder | None) -> list[Entry]:
    """Trains to the end, from the run's checkpoint where there is one, and returns the log; None keeps no files.

    Raises:
        ValueError: the checkpoint is damaged or of other settings, or the loss or its gradient is not finite.
        OSError: a checkpoint or the log cannot be written; the checkpoint of before is untouched.
    """
    schedule, processes = trainer.schedule, trainer.processes
    log = _open_log(schedule, run if processes.writes else None)
    _resume(trainer, log, run)
    bar = tqdm(total=schedule.steps, initial=trainer.step_count, desc="training", unit="step",
               disable=None if processes.writes else True)  # fmt: skip
    shown, began = math.nan, time.perf_counter()
    with closing(log), bar:
        while trainer.step_count < schedule.steps:
            rate = schedule.rate(trainer.step_count)
            terms = trainer.step()
            count, last = trainer.step_count, trainer.step_count == schedule.steps
            log.add(count, terms, rate, last)
            if measured := trainer.measured():
                log.write({"step": count, **measured})
            shown = terms["loss"] if math.isnan(shown) else 0.98 * shown + 0.02 * terms["loss"]
            bar.set_postfix(loss=f"{shown:.3f}", **trainer.shown(), refresh=False)
            bar.update()
            began, seconds = time.perf_counter(), time.perf_counter() - began
            log.show(count, seconds_per_step=seconds)
            if run is not None and processes.writes and (count % schedule.checkpoint_steps == 0 or last):
                state = {**trainer.state_dict(), "settings": trainer.settings(), "log": log.state_dict()}
                write_checkpoint(run.checkpoint, state)
    return log.entries


def _open_log(schedule: Schedule, run: RunFolder | None) -> TrainingLog:
    if run is None:
        return TrainingLog(None, schedule.log_every)
    return TrainingLog(run.log, schedule.log_every, run.tensorboard if schedule.tensorboard else None)


def _resume(trainer: Trainer[Any], log: TrainingLog, run: RunFolder | None) -> None:
    """Brings trainer and log to where the checkpoint is, which the first process reads for all."""
    state = None
    if run is not None and trainer.processes.writes and run.checkpoint.is_file():
        state = read_checkpoint(run.checkpoint, trainer.settings())
    state = trainer.processes.from_first(state)
    if state is not None:
        trainer.load_state_dict(state)
    log.restart(trainer.step_count, None if state is None else state["log"])


def _means(parts: list[Entry]) -> Entry:
    names = dict.fromkeys(name for terms in parts for name in terms)
    given = {name: [terms[name] for terms in parts if name in terms] for name in names}
    return {name: math.fsum(values) / len(values) for name, values in given.items()}
