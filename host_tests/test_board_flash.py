"""The board's file system: a folder that can lose power at any change, and can be full."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

FILES = """
import os
print(os.getcwd(), sorted(os.listdir()), sorted(os.listdir("/")))
with open("new.txt", "w") as f:
    f.write("one\\n")
    f.write("two\\n")
os.rename("new.txt", "/kept.txt")
os.mkdir("logs")
os.chdir("logs")
with open("a.bin", "wb") as f:
    print(f.write(b"12345"), f.tell())
with open("a.bin", "r+b") as f:
    f.seek(2); f.write(b"X")
print(open("a.bin", "rb").read(), os.stat("/logs/a.bin")[6], os.getcwd())
os.chdir("/")
print([e for e in os.ilistdir("/logs")], os.stat("logs")[0] & 0x4000)
for line in open("kept.txt"):
    print(line.strip())
outside, missing = lambda: open("../../etc/passwd"), lambda: open("nothing")
for wrong in (outside, missing, lambda: os.remove("nothing")):
    try:
        wrong()
        print("went through")
    except OSError as e:
        print(e.errno)
os.remove("logs/a.bin"); os.rmdir("logs")
print(os.statvfs("/")[2] * 4096)
"""


def test_files_behave_as_on_the_board(board) -> None:
    async def run() -> list[str]:
        async with board(FILES) as device:
            await device.until("repl")
            return device.console

    console = asyncio.run(run())
    assert console[0].startswith("/ ['")
    assert console[0].count("'boot.py'") == 2
    assert console[1:] == [
        "5 5",
        "b'12X45' 5 /logs",
        "[('a.bin', 32768, 0, 5)] 16384",
        "one",
        "two",
        *("2", "2", "2"),
        str(2 * 1024 * 1024),
    ]


CHANGES = """
import os
with open("data.new", "w") as f:
    f.write("abcdefgh")
os.rename("data.new", "data")
os.remove("boot.py")
"""


@pytest.mark.parametrize(
    ("number", "during", "left"),
    [
        (1, "open", {}),
        (2, "write", {"data.new": "abcd"}),  # half of it landed
        (3, "close", {"data.new": "abcdefgh"}),
        (4, "rename", {"data.new": "abcdefgh"}),
        (5, "remove", {"data": "abcdefgh"}),
    ],
)
def test_the_power_fails_at_the_change_asked_for(board, number, during, left) -> None:
    async def run() -> Path:
        async with board(CHANGES, board={"cut_at_write": number}) as device:
            assert (await device.until("cut"))["during"] == during
            await device.until("died")
            assert not any(event["ev"] in ("repl", "crash") for event in device.events)
            return device.flash

    flash = asyncio.run(run())
    assert {p.name: p.read_text() for p in flash.glob("data*")} == left
    assert (flash / "boot.py").exists()


def test_the_cut_comes_once(board) -> None:
    async def run() -> None:
        device = board(CHANGES, board={"cut_at_write": 4})
        await device.start()
        await device.until("died")
        await device.stop()
        await device.start()
        await device.until("repl", since=len(device.events))
        assert (device.flash / "data").read_text() == "abcdefgh"
        await device.stop()

    asyncio.run(run())


FULL = """
try:
    with open("much", "wb") as f:
        while True:
            f.write(bytes(4096))
except OSError as e:
    print(e.errno)
import os
print(os.statvfs("/")[3])
os.remove("much")
open("some", "w").write("x" * 4096)
print("fits")
"""


def test_a_full_flash_says_so_until_something_is_removed(board) -> None:
    async def run() -> list[str]:
        async with board(FULL, board={"flash_size": 1 << 20}) as device:
            await device.until("repl")
            return device.console

    console = asyncio.run(run())
    assert [console[0], console[2]] == ["28", "fits"]
    assert int(console[1]) <= 1
