"""Reads what torch.save wrote without running what it may carry: tensors, numpy arrays, plain values, nothing else."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

_NUMBERS = "?bhilqBHILQefd"  # numpy's codes of booleans, integers and floats


class HoldsObjects(ValueError):
    """The file holds Python objects, or is damaged so that it seems to."""


def read_torch_file(path: Path) -> Any:
    """Returns the content of a file of torch.save, tensors on the CPU, arrays of numpy as they are.

    Files of OpenScene, SAS and others hold numpy arrays, which torch's own restricted reader refuses; here arrays and
    numbers of numpy are admitted, and no other object, in torch's zip format and in the one before it.

    Raises:
        FileNotFoundError: no such file.
        HoldsObjects: the file holds other Python objects, and reading those would run whatever code is in the file.
        ValueError: not a file of torch, a damaged one, or an array of objects.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        with torch.serialization.safe_globals(_numpy()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise HoldsObjects(
            f"{path} is refused: it is damaged, or holds Python objects, and reading those runs whatever code is in "
            f"the file ({str(error).splitlines()[0]})"
        ) from error
    except Exception as error:  # a damaged pickle fails in whatever instruction the damage makes
        raise ValueError(f"{path} is not a file of torch.save, or is damaged: {error}") from error
    if any(array.dtype.hasobject or array.dtype.char not in _NUMBERS for array in _arrays(content)):
        raise ValueError(f"{path} holds an array that is not of numbers, or is damaged")
    return content


def numbers_of(value: object, what: str, path: Path) -> np.ndarray[Any, Any]:
    """Returns the array of numbers that a value of such a file is, or that it holds as a tensor.

    A tensor's numbers are not copied, except bfloat16, which numpy has not: it becomes float32.

    Args:
        value: an array, a tensor, or anything else, which is refused.
        what: names it in messages.

    Raises:
        ValueError: neither array nor tensor, or a tensor that is not dense; names file and value.
    """
    if isinstance(value, Tensor):
        kept = value.detach()
        try:
            value = (kept.float() if kept.dtype == torch.bfloat16 else kept).numpy()
        except (TypeError, RuntimeError) as error:  # sparse, quantised
            found = f"{kept.dtype}, {kept.layout}"
            raise ValueError(
                f"{path}: {what} must be a dense tensor of numbers, got {found}; save its to_dense()"
            ) from error
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
        found = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
        raise ValueError(f"{path}: {what} must be an array or a tensor of numbers, got {found}")
    return value


def _arrays(content: object) -> Iterator[np.ndarray[Any, Any]]:
    """Gives the arrays inside of dictionaries, lists and tuples."""
    if isinstance(content, np.ndarray):
        yield content
    elif isinstance(content, Mapping):
        for value in content.values():
            yield from _arrays(value)
    elif isinstance(content, list | tuple):
        for value in content:
            yield from _arrays(value)


def _no_bytes() -> bytes:
    return b""


def _numpy() -> list[Any]:
    """Returns what unpickles arrays and numbers of numpy, under the names of numpy 1 and of numpy 2."""
    dtypes = {type(np.dtype(code)) for code in _NUMBERS}
    array, scalar = np.empty(0).__reduce__()[0], np.float64(0).__reduce__()[0]
    cores = ("core", "_core")
    return [
        *(np.dtype, np.ndarray, *dtypes),
        *((array, f"numpy.{core}.multiarray._reconstruct") for core in cores),
        *((scalar, f"numpy.{core}.multiarray.scalar") for core in cores),
        (_no_bytes, "builtins.bytes"),  # the data of an array without elements
    ]
