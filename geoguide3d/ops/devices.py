"""Devices by name, checked before work is put into what they are to compute."""

from __future__ import annotations

import torch


def usable_device(device: torch.device | str) -> torch.device:
    """Returns the device of that name.

    Raises:
        ValueError: torch knows no such device, or it is a GPU that torch does not see.
    """
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"{device!r} is no device of torch; try cpu or cuda") from error
    if found.type == "cuda":
        if not torch.cuda.is_available():
            raise ValueError(f"torch sees no GPU for {str(device)!r}; leave the device out to run on the CPU")
        if found.index is not None and found.index >= torch.cuda.device_count():
            raise ValueError(f"torch sees {torch.cuda.device_count()} GPUs, numbered from 0, and no {str(device)!r}")
    return found
