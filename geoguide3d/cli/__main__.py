"""geoguide3d <command>: finds the command's file in this folder and calls its main."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path

from geoguide3d.cli.settings import USER_ERROR


def commands() -> dict[str, str]:
    """Returns the name of every command and the first line of its docstring, without importing any of them."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in module.body):
            found[path.stem] = (ast.get_docstring(module) or "").partition("\n")[0]
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `geoguide3d <command> …` and returns the command's exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    known = commands()
    if not words or words[0] in ("-h", "--help"):
        width = max(map(len, known))
        lines = [f"  {name:<{width}}  {line}" for name, line in known.items()]
        print(
            "\n".join(
                [
                    "usage: geoguide3d COMMAND ...",
                    "",
                    "commands:",
                    *lines,
                    "",
                    "geoguide3d COMMAND --help explains one.",
                ]
            )
        )
        return 0 if words else USER_ERROR
    name = words[0].replace("-", "_")
    if name not in known:
        nearest = get_close_matches(name, known, n=1, cutoff=0.0)[0]
        print(f"geoguide3d: no command {words[0]!r}; did you mean {nearest!r}?", file=sys.stderr)
        return USER_ERROR
    run: Callable[[Sequence[str]], int] = importlib.import_module(f"geoguide3d.cli.{name}").main
    return run(words[1:])


if __name__ == "__main__":
    raise SystemExit(main())
