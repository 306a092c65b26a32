"""What the log costs the flash, on the image's own LittleFS: erases, and power cuts inside it."""

import json
from pathlib import Path

from conftest import Run

RAM_DISK = (Path(__file__).resolve().parent / "metering_vm" / "ram_disk.py",)

VM = """
from ram_disk import Flash, Minutes, PowerCut
from device.log import Log
from device import log_lines
import os, vfs, json

class Clock:
    now = 0
    def ticks_ms(self): return self.now
    def ticks_diff(self, end, start): return end - start
    def time(self): return 850_000_000
    def gmtime(self, seconds): return (2026, 12, 8, 15, 6, 40, 1, 342)
"""


def test_ten_years_of_log_wear_flash_as_computed(run_vm: Run) -> None:
    code = """
flash = Flash(64)
vfs.VfsLfs2.mkfs(flash)
vfs.mount(vfs.VfsLfs2(flash), "/f")
clock = Clock()
log = Log(clock, lambda line: None, "/f/log")
before = sum(flash.erases)
for n in range(3000):
    for _ in range(n % 13 + 1):
        log.error("cloud", "failed: broker.lan: nobody answers, attempt %d" % n)
    clock.now += 60_000
    log.tend()
print(json.dumps([sum(flash.erases) - before, log.written, max(flash.erases) - min(flash.erases)]))
"""
    erases, writes, spread = json.loads(
        run_vm(VM + code, beside=RAM_DISK, heap="4m").splitlines()[-1]
    )
    assert writes == 3000
    assert erases / writes < 1.35
    assert spread < 150  # of 62 each on average


def test_on_littlefs_a_cut_at_any_operation_leaves_a_log_that_can_be_read(run_vm: Run) -> None:
    code = """
flash = Flash(32)
vfs.VfsLfs2.mkfs(flash)
cuts = told = 0
for cut in list(range(24)) * 4:
    vfs.mount(vfs.VfsLfs2(flash), "/f")
    log = Log(Clock(), lambda line: None, "/f/log")
    text = b"".join(log_lines.pieces(log)).decode()
    numbers = [int(line.split()[4]) for line in text.split("\\n") if "I test" in line]
    assert numbers == sorted(numbers), numbers
    assert not told or told in numbers, (told, numbers[-3:])
    first = last = numbers[-1] if numbers else 0
    flash.left = cut
    try:
        for n in range(9):
            last += 1
            log.info("test", "line %d " % last + "." * 90)
            before = log.written
            log.flush()
            if log.written > before:
                told = last
    except PowerCut:
        cuts += 1
    vfs.umount("/f")
    flash = flash.survivor()
print(json.dumps([cuts, told]))
"""
    cuts, told = json.loads(run_vm(VM + code, beside=RAM_DISK, heap="4m").splitlines()[-1])
    assert cuts > 40
    assert told > 10
