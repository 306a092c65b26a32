"""The simulated board's serial port: what real mpremote finds there is what a board shows it."""

import asyncio
import hashlib
from pathlib import Path

import serial
from flash_bench import Bench

from sim.device import HARD_RESET, SOFT_RESET
from sim.image import Image


def test_mpremote_copies_hashes_lists_and_resets(image: Image, tmp_path: Path) -> None:
    data = bytes(range(256)) * 20
    (tmp_path / "data.bin").write_bytes(data)

    async def main() -> None:
        async with Bench(image, tmp_path) as on:
            code, said = await on.mpremote(
                *("fs", "cp", str(tmp_path / "data.bin"), ":data.bin", "+"),
                *("fs", "sha256sum", ":data.bin", "+", "fs", "ls", "+"),
                *("exec", "import os; print(os.uname().machine)"),
            )
            assert code == 0, said
            assert hashlib.sha256(data).hexdigest() in said
            assert "5120 data.bin" in said
            assert "with ESP32" in said
            assert (on.files / "data.bin").read_bytes() == data
            code, said = await on.mpremote("reset")
            assert code == 0, said
            await on.device.until(lambda e: e["ev"] == "reset" and e["cause"] == HARD_RESET)
            await on.device.until("boot", since=len(on.device.events) - 1)

    asyncio.run(main())


def test_a_soft_reset_from_the_raw_repl_leaves_main_alone_and_ctrl_d_runs_it(
    image: Image, tmp_path: Path
) -> None:
    files = {"boot.py": "print('boot ran')\n", "main.py": "x = 7\nprint('main ran')\n"}

    async def main() -> None:
        async with Bench(image, tmp_path, files=files) as on:
            await on.device.until("repl")
            code, said = await on.mpremote("exec", "print('x' in globals())")
            assert (code, said.strip()) == (0, "False")
            with serial.Serial(str(on.port), timeout=60) as port:
                port.write(b"\x04")
                said = (await asyncio.to_thread(port.read_until, b">>> ")).decode()
                port.write(b"print(x)\r")
                answer = (await asyncio.to_thread(port.read_until, b">>> ")).decode()
            words = ["MPY: soft reboot", "boot ran", "main ran", "MicroPython", ">>> "]
            places = [said.index(word) for word in words]
            assert places == sorted(places)
            assert "7\r\n" in answer  # the REPL goes on with what main.py left
            assert [event["cause"] for event in on.events("reset")] == [SOFT_RESET] * 2

    asyncio.run(main())


def test_a_board_that_is_still_starting_hears_what_was_typed(image: Image, tmp_path: Path) -> None:
    """A VM starts more slowly than a board: mpremote would give up on what came a second early."""

    async def main() -> None:
        on = Bench(image, tmp_path)
        assert not on.port.is_symlink()  # nobody finds the port of a board without power
        power = asyncio.create_task(on.device.start())
        try:
            while not on.port.is_symlink():  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.001)
            with serial.Serial(str(on.port), timeout=60) as port:
                port.write(b"\r\x03\r\x01")
                assert not on.events("boot")
                said = await asyncio.to_thread(port.read_until, b"CTRL-B to exit\r\n>")
                assert said.endswith(b"raw REPL; CTRL-B to exit\r\n>")
                port.write(b"import machine; machine.reset()\x04")
                await on.device.until("reset")
                port.write(b"\r\x03\r\x01")
                assert len(on.events("boot")) == 1
                said = await asyncio.to_thread(port.read_until, b"CTRL-B to exit\r\n>")
                assert said.endswith(b"raw REPL; CTRL-B to exit\r\n>")
        finally:
            await power
            await on.__aexit__()

    asyncio.run(main())


def test_ctrl_c_stops_a_program_whether_or_not_it_ever_waits(image: Image, tmp_path: Path) -> None:
    programs = (
        "print('go')\nwhile True: pass",
        "import time\nprint('go')\nwhile True: time.sleep_ms(50)",
    )

    async def main() -> None:
        main_py = "import machine\nmachine.Pin(2, 3, value=1)\n" + programs[1]
        async with Bench(image, tmp_path, files={"main.py": main_py}) as on:
            await on.device.until("pin")
            with serial.Serial(str(on.port), timeout=60) as port:
                port.write(b"\x03")  # main.py
                said = await asyncio.to_thread(port.read_until, b">>> ")
                assert b"KeyboardInterrupt" in said
                for program in programs:
                    port.write(b"\x01")
                    await asyncio.to_thread(port.read_until, b"raw REPL; CTRL-B to exit\r\n>")
                    port.write(program.encode() + b"\x04")
                    await asyncio.to_thread(port.read_until, b"go\r\n")
                    port.write(b"\x03")
                    said = await asyncio.to_thread(port.read_until, b"\x04>")
                    assert b"KeyboardInterrupt" in said
                    port.write(b"\x02")
                    await asyncio.to_thread(port.read_until, b">>> ")

    asyncio.run(main())


def test_a_watchdog_outlives_the_soft_reset_and_can_be_stretched(
    image: Image, tmp_path: Path
) -> None:
    """ports/esp32/machine_wdt.c: no way to stop it, a new WDT() only sets another time."""

    async def main() -> None:
        async with Bench(image, tmp_path) as on:
            await on.device.until("repl")
            wdt = "import machine; machine.WDT(timeout={})".format
            await on.mpremote(
                "exec", wdt(1500), "+", "soft-reset", "+", "exec", wdt(600000)
            )  # one call: two would not start in time on a busy host
            await asyncio.sleep(2.3)
            assert {event["cause"] for event in on.events("reset")} == {SOFT_RESET}
            await on.mpremote("exec", wdt(1000), "+", "soft-reset")
            await on.device.until(lambda e: e["ev"] == "reset" and e["cause"] == 3)

    asyncio.run(main())
