"""Outputs that are either whole or absent: written under a temporary name beside the target, then renamed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_file(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a temporary path; on leaving without an exception the file written there replaces target."""
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last, because writers such as Pillow and Open3D choose the format by it.
    handle, name = tempfile.mkstemp(prefix=f".{target.stem}.", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives an empty temporary folder; on leaving without an exception it replaces target, old content included.

    Raises:
        ValueError: target is a file or a link, which a folder must not replace.
    """
    target = Path(target)
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise ValueError(f"{target} is a {'link' if target.is_symlink() else 'file'}, not a folder; name another place")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        if target.exists():
            retired = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
            target.replace(retired)
            try:
                temporary.replace(target)
            except OSError:
                retired.replace(target)
                raise
            shutil.rmtree(retired)
        else:
            temporary.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def remove_leftovers(target: str | os.PathLike[str]) -> None:
    """Removes the temporary files that killed processes left while they wrote target; nobody may be writing it now."""
    target = Path(target)
    for path in target.parent.glob(f".{target.stem}.????????{target.suffix}"):
        path.unlink()
