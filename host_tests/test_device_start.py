"""What main.py lets go of after the start is needed by nobody afterwards."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

FIRMWARE = Path(__file__).resolve().parent.parent / "firmware"
TREES = {
    path.stem: ast.parse(path.read_text())
    for path in FIRMWARE.rglob("*.py")
    if path.stem not in ("run", "safe_mode")  # a run of their own: there main.settle() is not
}


def forgotten() -> list[tuple[str, str]]:
    """(module or class, name) of what main.settle() lets go of, but for constructors."""
    tree = next(
        node
        for node in TREES["main"].body
        if isinstance(node, ast.FunctionDef) and node.name == "settle"
    )
    return [
        (ast.unparse(call.args[0]), name.value)
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "forget"
        for name in call.args[1:]
        if isinstance(name, ast.Constant) and name.value not in ("__init__", "build", "settle")
    ]


def home(owner: str) -> str:
    """The module of a class of main.py, or of what it knows as `owner`."""
    for node in TREES["main"].body:
        if isinstance(node, ast.ImportFrom | ast.Import):
            for alias in node.names:
                if (alias.asname or alias.name) == owner:
                    part = node.module if isinstance(node, ast.ImportFrom) else None
                    return (part if owner[0].isupper() and part else alias.name).split(".")[-1]
    raise AssertionError(f"main.py imports no {owner}")


def callers(owner: str, name: str) -> set[str]:
    """Functions that ask `owner`, or in its own module anything, for `name`."""
    found = set()
    for module, tree in TREES.items():
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for node in ast.walk(function):
                asked = isinstance(node, ast.Attribute) and node.attr == name
                if asked and (module == home(owner) or ast.unparse(node.value) == owner):
                    found.add(f"{module}.{function.name}")
                called = isinstance(node, ast.Call) and ast.unparse(node.func) == name
                if called and module == home(owner):
                    found.add(f"{module}.{function.name}")
    return found


@pytest.mark.parametrize(("owner", "name"), forgotten())
def test_only_the_start_asks_for_what_is_let_go_of(owner, name) -> None:
    others = {f"{home(owner)}.{other}" for who, other in forgotten() if who == owner}
    start = {"main.main", "main.build", f"{home(owner)}.__init__"} | others
    assert callers(owner, name) <= start


def test_it_is_noticed_when_something_else_asks() -> None:
    assert "meter.slice" in callers("Meter", "_time_scans")
