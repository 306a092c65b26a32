"""What the tests of device/, cloud/ and clock share: interpreters, and the same test on each.

The modules in cloud_vm/ named same_*.py hold plain functions with plain asserts; each of them
runs on CPython and inside the MicroPython VM: its integers, floats and files are the board's.
"""

import importlib
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
VM_SIDE = ROOT / "host_tests" / "cloud_vm"
VM64 = ROOT / ".venv" / "bin" / "micropython"
VM32 = os.environ.get("AMPGUARD_VM32")  # a 32-bit MicroPython, where somebody has built one
# The folder with umqtt/: the library of 2017 from `make setup`, or another that the image freezes.
LIB = Path(os.environ.get("AMPGUARD_UMQTT", ROOT / ".venv" / "lib"))

INTERPRETERS = [
    pytest.param(sys.executable, id="cpython"),
    pytest.param(str(VM64), id="vm64"),
]
if VM32:
    INTERPRETERS.append(pytest.param(VM32, id="vm32"))
VMS = INTERPRETERS[1:]


def vm_environment(lib: Path = LIB, firmware: Path = ROOT / "firmware") -> dict[str, str]:
    path = [firmware, VM_SIDE, lib, ".frozen"]
    return {"MICROPYPATH": ":".join(map(str, path)), "PATH": os.environ["PATH"]}


def run_on_vm(vm: str, source: str, *, cwd: Path, timeout: float = 180, lib: Path = LIB) -> str:
    """Runs MicroPython source to its end and returns what it printed. A traceback fails."""
    done = subprocess.run(
        [vm, "-X", "heapsize=400k", "-c", source],
        cwd=cwd,
        env=vm_environment(lib),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def on_every_interpreter(module_name: str):
    """Parametrises a test over the functions of a same_*.py and over the interpreters."""
    if str(VM_SIDE) not in sys.path:
        sys.path.insert(0, str(VM_SIDE))
        sys.path.insert(0, str(ROOT / "firmware"))
        sys.path.insert(0, str(ROOT / "sim" / "cpython"))
    module = importlib.import_module(module_name)
    names = [
        name for name, f in inspect.getmembers(module, inspect.isfunction) if name[:5] == "test_"
    ]

    def decorate(test):
        test = pytest.mark.parametrize("interpreter", INTERPRETERS)(test)
        return pytest.mark.parametrize("name", names)(test)

    return decorate


def run_same(module_name: str, name: str, interpreter: str, folder: Path) -> None:
    """Runs one function of a same_*.py; the current folder is an empty one."""
    if interpreter == sys.executable:
        before = Path.cwd()
        os.chdir(folder)
        try:
            getattr(importlib.import_module(module_name), name)()
        finally:
            os.chdir(before)
    else:
        run_on_vm(interpreter, f"import {module_name} as m; m.{name}()", cwd=folder)
