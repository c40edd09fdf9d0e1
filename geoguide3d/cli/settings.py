"""Command lines of frozen dataclasses: YAML through --config, then --key value, and a typed object comes out."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import logging
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, get_type_hints

import docstring_parser
import jsonargparse
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from geoguide3d.ops.allocator import keep_freed_memory

S = TypeVar("S")

USER_ERROR = 2  # exit code for what the user can cure
POSITIONAL = {"positional": True}  # metadata of a field that is given by its place instead of by --name
_NUMBER = r"-?\d+\.?\d*(?:[eE][-+]?\d+)?"
_NUMBERS = re.compile(rf"{_NUMBER}(?:,{_NUMBER})+")
_UNKNOWN_KEYS = (  # what jsonargparse says of keys it does not know
    re.compile(r"unrecognized arguments: --(?P<key>[^\s=]+)"),
    re.compile(r"Group '(?P<group>[^']+)' does not accept option '(?P<key>[^']+)'"),
    re.compile(r"(?:Key|Option|key|option) ['\"](?P<key>[^'\"]+)['\"] is not (?:expected|accepted)"),
)


class _Formatter(argparse.RawDescriptionHelpFormatter, jsonargparse.DefaultHelpFormatter):
    """Help with types and defaults, and with the line breaks of the examples."""


def parse_settings(settings_class: type[S], argv: Sequence[str] | None, epilog: str = "") -> tuple[S, str]:
    """Returns the settings of a command line, and the same with every default spelled out, as YAML for --config.

    Fields become --options (field_name → --field-name, nested ones --outer.inner_name); those with POSITIONAL
    metadata are given by place, tuples of them take one word or more. Three numbers with commas ("0,-1,0") are a list.
    A wrong command line ends the process with exit code 2 and one line that names the nearest key.

    Args:
        settings_class: a dataclass; its docstring is the description, its `Args:` are the help.
        argv: the words after the command; None takes those of the process.
        epilog: examples for --help.
    """
    parser = _parser(settings_class, epilog)
    words = _normalised(sys.argv[1:] if argv is None else argv)
    try:
        parsed = parser.parse_args(words)
        text: str = parser.dump(parsed, skip_unset=False)
        found = parser.instantiate(parsed)
        values = {field.name: found[field.name] for field in dataclasses.fields(settings_class)}  # type: ignore[arg-type]
        return settings_class(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}), text
    except (jsonargparse.ArgumentError, ValueError) as error:
        print(f"{parser.prog}: {_one_line(error)}{_nearest_key(parser, str(error))}", file=sys.stderr)
        raise SystemExit(USER_ERROR) from None


@contextmanager
def command(name: str) -> Iterator[None]:
    """Runs a command: sets the allocator, shows log and warnings, and turns errors a user can cure into one line.

    Such errors are ValueError, OSError, and the ImportError that says what to install, and end the process with exit
    code 2; anything else is a bug and keeps its traceback.
    """
    keep_freed_memory()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    # Lines are written above a progress bar, not into it; both contexts restore what is replaced here.
    with warnings.catch_warnings(), logging_redirect_tqdm():
        warnings.showwarning = lambda message, *_: tqdm.write(f"warning: {message}", file=sys.stderr)
        try:
            yield
        except (ValueError, OSError, ImportError) as error:
            if isinstance(error, ImportError) and error.name is not None:  # Python's own, which nobody gave a cure
                raise
            print(f"{name}: {_one_line(error)}", file=sys.stderr)
            raise SystemExit(USER_ERROR) from None


def _parser(settings_class: type[Any], epilog: str) -> jsonargparse.ArgumentParser:
    doc = docstring_parser.parse(settings_class.__doc__ or "")
    helps = {param.arg_name: param.description for param in doc.params}
    name = settings_class.__name__.removesuffix("Settings").lower()
    fields = [
        _Option(field, get_type_hints(settings_class)[field.name]) for field in dataclasses.fields(settings_class)
    ]
    parser = jsonargparse.ArgumentParser(
        prog=f"geoguide3d {name}",
        usage=" ".join(["%(prog)s", *(field.usage for field in fields if field.required), "[--option VALUE ...]"]),
        description="\n\n".join(filter(None, (doc.short_description, doc.long_description))),
        epilog=epilog,
        formatter_class=_Formatter,
        exit_on_error=False,
    )
    parser.add_argument("--config", action="config", help="YAML file with any of the options below")
    for field in fields:
        parser.add_argument(field.flag, help=helps.get(field.name), **field.arguments)
    return parser


class _Option:
    """What argparse has to know of one field of a settings class."""

    def __init__(self, field: dataclasses.Field[Any], hint: Any) -> None:
        self.name = field.name
        self.required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        by_place = bool(field.metadata.get("positional"))
        self.flag = field.name if by_place else "--" + field.name.replace("_", "-")
        several = hint == tuple[str, ...]
        shown = field.name.upper() + (" ..." if several else "")
        self.usage = shown if by_place else f"{self.flag} {shown}"
        self.arguments: dict[str, Any] = {"type": hint}
        if by_place:
            self.arguments = {"nargs": "+", "type": str} if several else {"type": hint}
        elif self.required:
            self.arguments["required"] = True
        elif hint is bool:
            self.arguments = {"action": "store_true"}
        elif field.default_factory is not dataclasses.MISSING:
            self.arguments["default"] = field.default_factory()
        else:
            self.arguments["default"] = field.default


def _normalised(words: Sequence[str]) -> list[str]:
    """Returns the words with --outer.inner-name as --outer.inner_name, and --key 0,-1,0 as --key=[0,-1,0]."""
    normal: list[str] = []
    for word in words:
        if _NUMBERS.fullmatch(word) and normal and normal[-1].startswith("--") and "=" not in normal[-1]:
            normal[-1] += f"=[{word}]"
        elif word.startswith("--"):
            name, equals, value = word.partition("=")
            outer, dot, inner = name.rpartition(".")
            name = outer + dot + inner.replace("-", "_") if dot else name
            normal.append(name + equals + (f"[{value}]" if _NUMBERS.fullmatch(value) else value))
        else:
            normal.append(word)
    return normal


def _nearest_key(parser: jsonargparse.ArgumentParser, message: str) -> str:
    """Returns "; did you mean …?" where the message complains about an unknown key, else nothing."""
    for pattern in _UNKNOWN_KEYS:
        if match := pattern.search(message):
            key = ".".join(filter(None, (match.groupdict().get("group"), match["key"]))).replace("-", "_")
            known = [name for name in _keys(parser) if name not in ("help", "print_config")]
            nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
            return f"; did you mean {nearest[0]!r}?" if nearest else ""
    return ""


def _keys(parser: jsonargparse.ArgumentParser) -> list[str]:
    return [str(key) for key in parser.get_defaults().keys(branches=True)]


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
