"""The simulated board as a whole: its clock and converter, resets, watchdog, heap, and its end."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import says

from sim.device import HARD_RESET, SOFT_RESET, WDT_RESET, heap_bytes
from sim.plant import Plant

ROOT = Path(__file__).resolve().parent.parent

ADC = """
import machine, time
readers = [machine.ADC(machine.Pin(p)).read_u16 for p in (36, 39, 32, 33, 34, 35)]
time.sleep_ms(30)
start = time.ticks_us()
codes = [reader() >> 4 for reader in readers for _ in range(200)]
print(time.ticks_diff(time.ticks_us(), start) // 100)
print(codes[::200])
button = machine.Pin(13)
while button.value():
    time.sleep_ms(1)
time.sleep_ms(10)
print([reader() >> 4 for reader in readers])
"""


def test_conversions_take_their_time_and_see_the_plant_change(board) -> None:
    async def run() -> list[str]:
        async with board(ADC) as device:
            await device.until(lambda e: e["ev"] == "second")
            device.plant.codes = [2000] * 6
            device.plant_changed()
            device.air.set(button="pressed")
            await device.until("repl")
            return device.console

    console = asyncio.run(run())
    assert int(console[0]) == 420  # 1200 conversions of 35 us, in 0.1 ms
    assert console[1] == "[1000, 1100, 1200, 1300, 1400, 1500]"
    assert console[2] == "[2000, 2000, 2000, 2000, 2000, 2000]"


SCANS = """
import machine
readers = [machine.ADC(machine.Pin(p)).read_u16 for p in (36, 39, 32, 33, 34, 35)]
print([reader() >> 4 for _ in range(700) for reader in readers])
"""


def test_the_converter_in_the_vm_agrees_with_the_plants_own(board) -> None:
    plant = Plant(u=[230, 231, 229], i=[16, -10, 6], phi=[10, 20, 30], noise_lsb=1.5)

    async def run() -> str:
        async with board(SCANS, plant=plant) as device:
            await device.until("repl")
            return device.console[0]

    codes = [int(word) for word in asyncio.run(run()).strip("[]").split(",")]
    # The board's clock has moved on by the time it first reads: find where in the loop it was.
    period = 20_000_000
    expected = Plant(u=[230, 231, 229], i=[16, -10, 6], phi=[10, 20, 30], noise_lsb=1.5)
    for start_us in range(0, 400_000):
        expected.noise_state = 20260101
        first = expected.scans(2, start_us * 1000).ravel().tolist()
        if first == codes[:12]:
            expected.noise_state = 20260101
            if expected.scans(700, start_us * 1000).ravel().tolist() == codes:
                return
    pytest.fail(f"no start within {400_000 // (period // 1000)} cycles gives these codes")


SLICES = """
import _thread, gc, machine, micropython, time
read = machine.ADC(machine.Pin(36)).read_u16
turns = 0
def other():
    global turns
    while True:
        turns += 1
        time.sleep_ms(1)
_thread.start_new_thread(other, ())
def slice():
    for _ in range(570):
        read()
slice(); time.sleep_ms(0)
gc.collect()
before = gc.mem_alloc()
for _ in range(60):
    slice()
    time.sleep_ms(0)
print(gc.mem_alloc() - before, turns > 30)
time.sleep_ms(1000)
for _ in range(30):
    slice()
time.sleep_ms(1500)
"""


def test_the_time_without_a_hand_over_is_reported(board) -> None:
    async def run() -> tuple[list[str], list[int]]:
        async with board(SLICES) as device:
            await device.until("repl")
            await device.until(lambda e: e["ev"] == "second" and e["up"] >= 4)
            held = [e["held_ms"] for e in device.events if e["ev"] == "second"]
            return device.console, held

    console, held = asyncio.run(run())
    assert 19 <= held[0] <= 40  # a slice at a time (and the start)
    assert max(held) >= 590  # thirty at once
    allocated, others_ran = console[0].split()
    assert others_ran == "True"
    assert int(allocated) < 6000  # a report a second, little per hand-over, nothing per read


RESETS = """
import machine, _thread, time, sys
cause = machine.reset_cause()
print("cause", cause, time.time() > 800000000)
if cause == machine.PWRON_RESET:
    machine.RTC().datetime((2026, 11, 22, 6, 12, 0, 0, 0))
    def thread():
        machine.reset()
        print("the reset returned")
    _thread.start_new_thread(thread, ())
    time.sleep(10)
    print("still here")
if cause == machine.HARD_RESET:
    sys.exit()
if cause == machine.SOFT_RESET:
    machine.WDT(timeout=1000).feed()
    while True:
        pass
print("watchdog")
raise KeyError("lost")
"""


def test_every_reset_keeps_its_cause_and_the_clock(board) -> None:
    async def run() -> None:
        async with board(RESETS) as device:
            await device.until("crash", timeout=60)
            causes = [e["cause"] for e in device.events if e["ev"] == "reset"]
            assert causes == [HARD_RESET, SOFT_RESET, WDT_RESET]
            await device.until("repl")  # the board sits there
            console = [line for line in await says(device, 8) if not line.startswith("  ")]
            assert console == [
                *("cause 1 False", "cause 2 True", "cause 5 True", "cause 3 True", "watchdog"),
                *("Traceback (most recent call last):", "KeyError: lost"),
            ]

    asyncio.run(run())


WATCHED = """
import machine, time
wdt = machine.WDT(timeout=1500)
for _ in range(200):
    wdt.feed()
    time.sleep_ms(10)
print("alive")
"""


def test_a_watchdog_that_is_fed_does_not_bite_and_one_left_alone_does(board) -> None:
    async def run() -> None:
        async with board(WATCHED) as device:
            assert (await device.until("reset"))["cause"] == WDT_RESET
            assert device.console == ["alive"]

    asyncio.run(run())


def test_a_crash_in_boot_keeps_main_from_running(board) -> None:
    async def run() -> None:
        async with board("print('main')", files={"boot.py": "1 / 0"}) as device:
            assert (await device.until("crash"))["file"] == "boot.py"
            await device.until("repl")
            assert "main" not in device.console

    asyncio.run(run())


HEAP = """
import gc
gc.collect()
free = gc.mem_free()
print(free)
block = bytearray(70000)
try:
    bytearray(60000)
except MemoryError:
    print("full")
"""


def test_the_firmware_gets_the_heap_it_was_given_and_no_more(board) -> None:
    async def run() -> None:
        async with board(HEAP, heap="120k") as device:
            await device.until("repl")
            assert device.console[1] == "full"
            assert abs(int(device.console[0]) - 120 * 1024) < 8192
            assert device.standin_bytes > 65536  # the plant's buffer alone

    asyncio.run(run())


@pytest.mark.parametrize(
    ("heap", "word", "size"),
    [("100wk", 4, 102400), ("100wk", 8, 204800), ("160k", 8, 163840), ("1m", 4, 1 << 20)],
)
def test_the_heap_is_written_as_the_vm_takes_it(heap: str, word: int, size: int) -> None:
    assert heap_bytes(heap, word) == size


def test_a_heap_that_is_no_size_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a number like 100wk"):
        heap_bytes("lots", 4)


ORPHAN = """
import asyncio, sys
sys.path.insert(0, {root!r}); sys.path.insert(0, {tests!r})
from pathlib import Path
from conftest import SteadyPlant
from sim.air import Air
from sim.device import SimulatedDevice

MAIN = "print('running')\\nwhile True: pass"

async def run():
    device = SimulatedDevice(Path({flash!r}), Air(), SteadyPlant(), Path({vm!r}),
                             files={{"main.py": MAIN}})
    await device.start()
    while "running" not in device.console:
        await asyncio.sleep(0.01)
    print(device.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(run())
"""


def test_no_vm_outlives_a_host_that_is_killed(vm: Path, tmp_path: Path) -> None:
    script = ORPHAN.format(
        root=str(ROOT), tests=str(ROOT / "host_tests"), flash=str(tmp_path / "flash"), vm=str(vm)
    )
    host = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert host.stdout
    child = int(host.stdout.readline())
    assert Path(f"/proc/{child}").exists()
    host.kill()
    host.wait()
    host.stdout.close()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            return
        if state == "Z":
            return
        time.sleep(0.01)
    os.kill(child, 9)
    pytest.fail("the VM lived on")


TASKS = """
import asyncio, time
log = []
async def sleeper(name, ms):
    try:
        await asyncio.sleep_ms(ms)
        log.append(name)
        return name
    except asyncio.CancelledError:
        log.append("cancelled " + name)
        raise
async def failing():
    raise ValueError("wrong")
async def main():
    start = time.ticks_ms()
    late = asyncio.create_task(sleeper("late", 60))
    early = asyncio.create_task(sleeper("early", 20))
    doomed = asyncio.create_task(sleeper("doomed", 5000))
    log.append(await early); log.append(await late)
    doomed.cancel()
    try:
        await doomed
    except asyncio.CancelledError:
        log.append("seen")
    try:
        await asyncio.create_task(failing())
    except ValueError as e:
        log.append(str(e))
    try:
        await asyncio.wait_for_ms(sleeper("slow", 5000), 20)
    except asyncio.TimeoutError:
        log.append("timeout")
    log.append(await asyncio.gather(sleeper("a", 10), sleeper("b", 5)))
    event, lock = asyncio.Event(), asyncio.Lock()
    async def waiter():
        async with lock:
            await event.wait()
            log.append("event")
    tasks = [asyncio.create_task(waiter())]
    await asyncio.sleep_ms(5)
    log.append(lock.locked())
    event.set()
    await tasks[0]
    log.append(time.ticks_diff(time.ticks_ms(), start) < 1000)
asyncio.run(main())
print(log)
"""


def test_asyncio_lives_by_the_boards_clock(board) -> None:
    async def run() -> None:
        async with board(TASKS) as device:
            await device.until("repl")
            assert await says(device, 1) == [
                "['early', 'early', 'late', 'late', 'cancelled doomed', 'seen', 'wrong', "
                "'cancelled slow', 'timeout', 'b', 'a', ['a', 'b'], True, 'event', True]"
            ]

    asyncio.run(run())
