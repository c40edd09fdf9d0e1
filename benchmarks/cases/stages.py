"""Where the seconds of one forward pass go: those of named modules, and those of a sparse engine's functions."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from geoguide3d.sparse.engines import ENGINES, Engine, current_engine, sparse_engine

_TIMED = "timed"


class Stages:
    """Seconds and calls by name; names are counted with what runs inside them."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Returns the function, timed."""

        def run(*arguments: Any) -> Any:
            began = _now()
            result = function(*arguments)
            self._add(name, began)
            return result

        return run

    @contextmanager
    def watching(self, modules: Mapping[str, list[nn.Module]]) -> Iterator[None]:
        """Times the modules of each name, and the current engine's maps and convolutions."""
        hooks = []
        for name, of_name in modules.items():
            for module in of_name:
                hooks += self._hooks(name, module)
        engine = current_engine()
        ENGINES[_TIMED] = Engine(
            self.timed("· kernel maps", engine.submanifold_map),
            self.timed("· kernel maps", engine.strided_map),
            self.timed("· sparse convolutions", engine.sparse_conv),
        )
        try:
            with sparse_engine(_TIMED):
                yield
        finally:
            del ENGINES[_TIMED]
            for hook in hooks:
                hook.remove()

    def table(self) -> str:
        """Returns one line for each name."""
        return "\n".join(
            f"    {name:<24} {seconds * 1e3:8.1f} ms  {self.calls[name]:4d} calls"
            for name, seconds in self.seconds.items()
        )

    def _hooks(self, name: str, module: nn.Module) -> list[Any]:
        began: list[float] = []

        def after(*_: Any) -> None:
            self._add(name, began.pop())

        self.seconds[name] += 0.0  # lines stand in the order of the names
        return [
            module.register_forward_pre_hook(lambda *_: began.append(_now())),
            module.register_forward_hook(after),
        ]

    def _add(self, name: str, began: float) -> None:
        self.seconds[name] += _now() - began
        self.calls[name] += 1


def _now() -> float:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()
