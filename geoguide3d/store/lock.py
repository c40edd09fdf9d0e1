"""One writer at a time: a lock on a folder that the system drops when its owner ends, however it ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOCK_FILE = ".lock"


@contextmanager
def locked_folder(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives the folder, made where it is missing, to one process at a time; an empty one is removed afterwards.

    The lock is the kernel's (`flock` on FOLDER/.lock), so a killed process leaves none behind, and its file, which
    holds the owner's process id, does not block anybody.

    Raises:
        ValueError: the folder is a file, or another process has the lock.
        OSError: the folder cannot be made, or its disk knows no locks.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; name a folder")
    path, handle = folder / LOCK_FILE, None
    try:
        while handle is None:
            folder.mkdir(parents=True, exist_ok=True)
            handle = _lock(path)
        yield folder
    finally:
        if handle is not None:
            path.unlink(missing_ok=True)  # before the lock is given up: who opens the file from now on makes a new one
            os.close(handle)
            # It stays where it holds anything, also the lock of who came next; a link to a folder stays too. An error
            # here would hide the one that the owner ended with.
            with suppress(OSError):
                folder.rmdir()


def _lock(path: Path) -> int | None:
    """Returns the open, locked file; None where its owner removed it meanwhile, so that the lock guards nothing."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except FileNotFoundError:
        if path.parent.is_dir():
            raise
        return None  # its owner removed the empty folder between our mkdir and this
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(handle).st_nlink == 0:
            os.close(handle)
            return None
        os.ftruncate(handle, 0)
        os.write(handle, str(os.getpid()).encode())
    except BlockingIOError:
        owner = os.pread(handle, 32, 0).decode() or "unknown"
        os.close(handle)
        raise ValueError(
            f"{path.parent} is in use by process {owner}, which holds {path}; wait for it, or name another folder"
        ) from None
    except OSError as error:
        os.close(handle)
        raise OSError(f"{path} cannot be locked ({error.strerror}); name a folder on another disk") from error
    return handle
