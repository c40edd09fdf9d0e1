"""What a command may replace."""

from __future__ import annotations

from pathlib import Path

import pytest

from geoguide3d.cli.outputs import check_replaceable


def test_passes_what_is_absent_empty_or_its_own(tmp_path: Path) -> None:
    check_replaceable(tmp_path / "absent", {"a"}, overwrite=False)
    check_replaceable(tmp_path, {"a"}, overwrite=False)
    (tmp_path / "a").touch()
    check_replaceable(tmp_path, {"a", "b"}, overwrite=False)


def test_refuses_other_things_unless_told(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match="holds 'b' and more"):
        check_replaceable(tmp_path, {"a"}, overwrite=False)
    check_replaceable(tmp_path, {"a"}, overwrite=True)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_is_no_folder(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(ValueError, match="is a file; name a folder"):
        check_replaceable(tmp_path / "a", {"a"}, overwrite)
