"""The stand-ins are no more than the board: every name, every parameter is in the ESP32 stubs."""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TYPINGS = ROOT / ".venv" / "typings"
MODULES = ("esp32", "machine", "network", "ntptime", "os", "select", "socket", "time", "_thread")
FILES = {"_thread": "_threads"}  # stand-ins that go by another name

# What the stubs do not know, and where MicroPython 1.29 has it.
MISSING_IN_STUBS = {
    "network.LAN.ipconfig": "ports/esp32/network_lan.c, lan_if_locals_dict_table",
    "machine.Pin.OPEN_DRAIN": "ports/esp32/machine_pin.c",
    "socket.socket.fileno": "ports/esp32/modsocket.c, socket_locals_dict_table",
    "socket.socket.ioctl": "how a class written in Python is a stream",
    "socket.SOL_SOCKET": "ports/esp32/modsocket.c",
    "machine.Pin.irq": "ports/esp32/machine_pin.c: wake may be positional",
}
MISSING_IN_STUBS |= {
    f"os.{name}": "extmod/modos.c, and umount, mount, Vfs... there until MicroPython 2"
    for name in (
        *("VfsFat", "VfsLfs2", "chdir", "getcwd", "ilistdir", "listdir", "mkdir", "mount"),
        *("remove", "rename", "rmdir", "sep", "stat", "statvfs", "umount", "unlink"),
    )
}
OTHER_KEYWORDS = {
    # ports/esp32/network_lan.c, get_lan
    "network.LAN.__init__": {"mdc", "mdio", "reset", "power", "spi", "cs", "int", "ref_clk"},
}


@dataclass
class Signature:
    """What calls a function takes, over all its overloads."""

    positional: int = 0
    keywords: set[str] = field(default_factory=set)
    any_positional: bool = False
    any_keyword: bool = False

    @classmethod
    def of(cls, node: ast.FunctionDef, bound: bool) -> Signature:
        a = node.args
        names = [arg.arg for arg in (*a.posonlyargs, *a.args)][1 if bound else 0 :]
        only = max(0, len(a.posonlyargs) - (1 if bound else 0))
        keywords = {n for n in names[only:] if not n.startswith("_")}
        keywords |= {arg.arg for arg in a.kwonlyargs}
        return cls(len(names), keywords, a.vararg is not None, a.kwarg is not None)

    def add(self, other: Signature) -> None:
        self.positional = max(self.positional, other.positional)
        self.keywords |= other.keywords
        self.any_positional |= other.any_positional
        self.any_keyword |= other.any_keyword


def _names(tree: ast.Module | ast.ClassDef, prefix: str) -> dict[str, Signature | None]:
    """Dotted name -> signature (None: a constant) of all that is public in a module or class."""
    found: dict[str, Signature | None] = {}
    inside_class = isinstance(tree, ast.ClassDef)
    for node in tree.body:
        if isinstance(node, ast.If):  # `if not _OLD:` and the like
            for name, signature in _names(ast.Module(node.body, []), prefix).items():
                found.setdefault(name, signature)
        elif isinstance(node, ast.FunctionDef):
            decorators = {d.id for d in node.decorator_list if isinstance(d, ast.Name)}
            if node.name.startswith("_") and node.name not in ("__init__", "__new__", "__call__"):
                continue
            name = f"{prefix}.{node.name.replace('__new__', '__init__')}"
            signature = Signature.of(node, inside_class and "staticmethod" not in decorators)
            known = found.setdefault(name, signature)
            if known:
                known.add(signature)
        elif isinstance(node, ast.ClassDef):
            if not node.name.startswith("_"):
                found[f"{prefix}.{node.name}"] = None
            found |= _names(node, f"{prefix}.{node.name}")
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                for leaf in ast.walk(target):
                    if isinstance(leaf, ast.Name) and not leaf.id.startswith("_"):
                        found[f"{prefix}.{leaf.id}"] = None
        elif isinstance(node, ast.ImportFrom | ast.Import):
            for alias in node.names:
                bound = alias.asname or alias.name
                if not bound.startswith("_"):
                    found[f"{prefix}.{bound}"] = None
    return found


def _stub(module: str) -> dict[str, Signature | None]:
    for path in (TYPINGS / f"{module}.pyi", TYPINGS / "stdlib" / module / "__init__.pyi"):
        if path.is_file():
            return _names(ast.parse(path.read_text()), module)
    raise AssertionError(f"no stub of {module}: run make setup")


def _stand_in(module: str) -> dict[str, Signature | None]:
    path = ROOT / "sim" / "board" / f"{FILES.get(module, module)}.py"
    names = _names(ast.parse(path.read_text()), module)
    # network's stations and access points are WLANs, its Ethernet is LAN
    alias = {"_Interface": "WLAN", "_Station": "WLAN", "_AccessPoint": "WLAN", "_Lan": "LAN"}
    alias |= {"_Poll": "poll", "_Irq": "irq"}
    renamed: dict[str, Signature | None] = {}
    for name, signature in names.items():
        parts = [alias.get(part, part) for part in name.split(".")]
        if "irq" not in parts[1:2]:
            renamed.setdefault(".".join(parts), signature)
    return renamed


@pytest.mark.parametrize("module", MODULES)
def test_a_stand_in_has_no_name_the_board_lacks(module: str) -> None:
    stub = _stub(module)
    ours = {name for name in _stand_in(module) if not name.endswith(".__init__")}
    assert not ours - set(stub) - set(MISSING_IN_STUBS), "not on the board"


@pytest.mark.parametrize("module", MODULES)
def test_a_stand_in_takes_no_argument_the_board_refuses(module: str) -> None:
    stub = _stub(module)
    refused = []
    for name, ours in _stand_in(module).items():
        theirs = stub.get(name)
        if not ours or not theirs or name in MISSING_IN_STUBS:
            continue
        if not theirs.any_positional and ours.positional > theirs.positional:
            refused.append(f"{name}: {ours.positional} positional arguments")
        if not theirs.any_keyword:
            # A parameter that starts with _ stands for a positional one: MicroPython has no /
            extra = ours.keywords - theirs.keywords - OTHER_KEYWORDS.get(name, set())
            refused += [f"{name}({keyword}=)" for keyword in sorted(extra)]
    assert not refused


def _constants(tree: ast.Module | ast.ClassDef, prefix: str) -> dict[str, object]:
    found: dict[str, object] = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            found |= _constants(node, f"{prefix}.{node.name}")
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = getattr(node, "value", None)
        if (
            isinstance(target, ast.Name)
            and target.id.isupper()
            and isinstance(value, ast.Constant)
        ):
            found[f"{prefix}.{target.id}"] = value.value
    return found


@pytest.mark.parametrize("module", ["machine", "network", "esp32", "socket"])
def test_the_constants_of_a_stand_in_have_the_boards_values(module: str) -> None:
    board = _constants(ast.parse((TYPINGS / f"{module}.pyi").read_text()), module)
    path = ROOT / "sim" / "board" / f"{module}.py"
    ours = _constants(ast.parse(path.read_text()), module)
    compared = {name for name in ours if board.get(name) is not None}
    assert {name: ours[name] for name in compared} == {name: board[name] for name in compared}
    assert compared or not ours, "the stubs name no values: nothing was compared"


def test_the_stubs_are_read_as_python_reads_them() -> None:
    # If the stubs move or change their form, the tests above must not pass for lack of names.
    assert sys.version_info >= (3, 11)
    assert len(_stub("network")) > 100
    assert _stub("machine")["machine.ADC.read_u16"] == Signature()
