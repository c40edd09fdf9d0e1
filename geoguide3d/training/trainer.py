"""One optimiser step after another, an average of the weights, and a checkpoint now and then."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from tqdm import tqdm

from geoguide3d.store.atomic import atomic_file

Model = TypeVar("Model", bound=nn.Module)
_LONGEST_GRADIENT = 5.0


@dataclass(frozen=True)
class Schedule:
    """What every training sets.

    Args:
        steps: optimiser steps.
        learning_rate: highest learning rate (AdamW).
        warm_up: steps until it is reached; afterwards it falls as a cosine.
        weight_decay: of matrices and kernels.
        average: decay of the moving average of the weights, which is what is kept.
        seed: of weights and batches.
        checkpoint_steps: steps from one checkpoint to the next.
    """

    steps: int = 10_000
    learning_rate: float = 2e-3
    warm_up: int = 200
    weight_decay: float = 0.02
    average: float = 0.998
    seed: int = 0
    checkpoint_steps: int = 250

    def rate(self, step: int) -> float:
        """Returns the learning rate of a step."""
        if step < self.warm_up:
            return self.learning_rate * (step + 1) / self.warm_up
        progress = (step - self.warm_up) / max(1, self.steps - self.warm_up)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


class Trainer(ABC, Generic[Model]):
    """Trains a model by a loss that depends on the weights, the seed and the step alone: a resumed run is the same run.

    Attributes:
        model: what is trained.
        averaged: what is kept: the moving average of its weights, in eval mode.
        step_count: steps taken.
        schedule: how.
    """

    def __init__(self, model: Model, schedule: Schedule) -> None:
        """Takes fresh networks, on the device to train on."""
        self.model = model.train()
        self.averaged = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.step_count = 0
        self.schedule = schedule
        self._optimizer = torch.optim.AdamW(
            _parameter_groups(model, schedule.weight_decay), lr=schedule.learning_rate, fused=True
        )

    @abstractmethod
    def loss(self) -> Tensor:
        """Returns the loss of step `step_count`, with a gradient."""

    def shown(self) -> dict[str, str]:
        """Returns what the progress bar shows besides the loss."""
        return {}

    def generator(self) -> torch.Generator:
        """Returns the random numbers of step `step_count`, from their start."""
        return torch.Generator().manual_seed(self.schedule.seed * 1_000_003 + self.step_count)

    def step(self) -> float:
        """Takes one optimiser step and returns its loss."""
        for group in self._optimizer.param_groups:
            group["lr"] = self.schedule.rate(self.step_count)
        loss = self.loss()
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), _LONGEST_GRADIENT)
        self._optimizer.step()
        self.step_count += 1
        self._average()
        return float(loss.detach())

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


def train(trainer: Trainer[Any], checkpoint: Path) -> None:
    """Trains to the end, from the checkpoint where there is one."""
    steps = trainer.schedule.steps
    if checkpoint.is_file():
        trainer.load_state_dict(torch.load(checkpoint, weights_only=True))
    shown = math.nan
    with tqdm(total=steps, initial=trainer.step_count, desc="training", unit="step") as bar:
        while trainer.step_count < steps:
            loss = trainer.step()
            shown = loss if math.isnan(shown) else 0.98 * shown + 0.02 * loss
            bar.set_postfix(loss=f"{shown:.3f}", **trainer.shown(), refresh=False)
            bar.update()
            if trainer.step_count % trainer.schedule.checkpoint_steps == 0 or trainer.step_count == steps:
                with atomic_file(checkpoint) as temporary:
                    torch.save(trainer.state_dict(), temporary)


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    matrices = [value for value in model.parameters() if value.ndim > 1]
    others = [value for value in model.parameters() if value.ndim <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
