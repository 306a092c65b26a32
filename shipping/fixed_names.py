"""Names that must stay as they are on a board, whatever the rest is called (shipping/renaming.py).

The image's: from the stubs of MicroPython's ESP32 port, which the set-up installs for the type
checker. A library's: from its source. Those that our tools ask a board for over its REPL: the
firmware there may be of another version.
"""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Iterator
from functools import cache

from shipping.compiler import ROOT, CompileError

_STUBS = ROOT / ".venv" / "typings"
_TOOLS = [
    path
    for room in ("calibrating", "shipping", "tools")
    for path in sorted((ROOT / room).glob("*.py"))
]


def key() -> bytes:
    """Changes when any of them may have. CompileError: there are no stubs."""
    lists = sorted(_STUBS.glob("*.dist-info/RECORD"))
    if not lists:
        raise CompileError("the stubs of the board's modules are missing: run make setup")
    return b"".join(path.read_bytes() for path in [*lists, *_TOOLS])


@cache
def of_image() -> frozenset[str]:
    paths = sorted(_STUBS.rglob("*.pyi"))
    modules = {path.stem for path in paths}
    return frozenset(modules.union(*(of_library(path.read_text()) for path in paths)))


def of_library(source: str) -> set[str]:
    """Every name of a module, function, class, attribute or parameter in it."""
    return set(_names(ast.parse(source)))


def asked() -> list[str]:
    """The sources that our tools run on a board."""
    return list(_asked())


def _asked() -> Iterator[str]:
    for path in _TOOLS:
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Constant(value=str(text)):
                    pass
                case ast.JoinedStr(values=parts):
                    text = "".join(_text(part) for part in parts)
                case _:
                    continue
            if "import " in text:
                with contextlib.suppress(SyntaxError):  # words for people
                    ast.parse(text)
                    yield text


def _text(part: ast.expr) -> str:
    return str(part.value) if isinstance(part, ast.Constant) else "0"


def _names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.ClassDef(name=name) | ast.arg(arg=name) | ast.Name(id=name):
                yield name
            case ast.Attribute(attr=name) | ast.keyword(arg=str(name)):
                yield name
            case ast.alias(name=name, asname=other):
                yield from name.split(".")
                yield other or name
