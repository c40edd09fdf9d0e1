"""Processes that train together: who does what, and how they add up what they did."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from geoguide3d.ops.devices import usable_device

Item = TypeVar("Item")


class Processes:
    """The processes of one training: this one alone, or those that `torchrun` or `accelerate launch` started.

    They share the parts of a step and add their gradients up once per step, by hand: the scenes of a step differ in
    which terms they have, so DistributedDataParallel, which adds up inside every backward pass and expects the same
    graph everywhere, would cost more and promise less.

    Args:
        device: cpu or cuda; each process takes its own GPU.

    Attributes:
        rank: 0 for the one that writes.
        count: how many.
        device: where this one computes.

    Raises:
        ValueError: no such device, or torch sees no GPU.
        ModuleNotFoundError: there are several, and accelerate is not installed.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.rank, self.count, self.device = 0, 1, usable_device(device)
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            state = _accelerate().PartialState(cpu=self.device.type == "cpu")
            self.rank, self.count, self.device = state.process_index, state.num_processes, state.device

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes files and shows progress."""
        return self.rank == 0

    def add_up(self, values: Sequence[Tensor]) -> None:
        """Replaces each tensor by its sum over the processes; shapes are the same in all of them."""
        if self.count == 1 or not values:
            return
        flat = torch.cat([value.reshape(-1) for value in values])
        summed = _accelerate().utils.reduce(flat, reduction="sum")
        for value, total in zip(values, summed.split([value.numel() for value in values]), strict=True):
            value.copy_(total.view_as(value))

    def gather(self, items: Sequence[Item]) -> list[Item]:
        """Returns the items of all processes, those of process 0 first; each gets all of them."""
        return list(items) if self.count == 1 else list(_accelerate().utils.gather_object(list(items)))

    def wait(self) -> None:
        """Returns when all processes are here."""
        self.gather([None])

    def from_first(self, item: Item) -> Item:
        """Returns the item of process 0 in every process."""
        return item if self.count == 1 else self.gather([item if self.writes else None])[0]  # type: ignore[return-value]


def _accelerate() -> Any:
    try:
        import accelerate  # type: ignore[import-untyped]
        import accelerate.utils  # type: ignore[import-untyped]
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "training with several processes needs accelerate: pip install 'geoguide3d[distributed]'"
        ) from None
    return accelerate
