from __future__ import annotations

import pytest
import torch

from geoguide3d.ops.devices import usable_device


def test_a_device_that_is_there() -> None:
    assert usable_device("cpu") == usable_device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize(
    ("device", "gpus", "message"),
    [
        ("gpu", 0, "'gpu' is no device of torch; try cpu or cuda"),
        ("cuda", 0, "torch sees no GPU for 'cuda'; leave the device out to run on the CPU"),
        ("cuda:2", 2, "torch sees 2 GPUs, numbered from 0, and no 'cuda:2'"),
    ],
)
def test_a_device_that_is_not_there_is_refused(
    device: str, gpus: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpus > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    with pytest.raises(ValueError, match=message):
        usable_device(device)


def test_gpus_are_numbered_from_0(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert usable_device("cuda:1") == torch.device("cuda", 1)
