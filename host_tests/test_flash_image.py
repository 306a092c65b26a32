"""One file for a whole board, and the package for mip: the firmware in both is whole and runs."""

import asyncio
import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Run
from flash_bench import Bench

from shipping.firmware import FIRMWARE, compiled, pieces
from shipping.image import ImageFileError, file_system, join
from sim.image import Image

ROOT = Path(__file__).resolve().parent.parent
MB = 1 << 20

# The file system as the board's _boot.py finds it: a block device over the bytes, VfsLfs2 on it.
MOUNT = """
import os, sys, vfs, hashlib, binascii
class Flash:
    def __init__(self, path, size):
        with open(path, "rb") as f:
            self.data = bytearray(f.read())
        self.data.extend(b"\\xff" * (size - len(self.data)))
    def readblocks(self, n, buf, at=0):
        at += n * 4096
        buf[:] = memoryview(self.data)[at:at + len(buf)]
    def writeblocks(self, n, buf, at=0):
        at += n * 4096
        self.data[at:at + len(buf)] = buf
    def ioctl(self, op, arg):
        if op == 4: return len(self.data) // 4096
        if op == 5: return 4096
        if op == 6:
            self.data[arg * 4096:arg * 4096 + 4096] = b"\\xff" * 4096
        return 0
vfs.mount(vfs.VfsLfs2(Flash({path!r}, {size})), "/board")
def walk(p):
    for e in os.ilistdir(p):
        q = p + "/" + e[0]
        if e[1] == 0x4000: walk(q)
        else:
            with open(q, "rb") as f:
                print(binascii.hexlify(hashlib.sha256(f.read()).digest()).decode(), q[7:])
"""


def stock_image(size_mb: int = 4, vfs: bool = False, chip: int = 0) -> bytes:
    """A downloaded image as far as we read it: header, partition table, an application."""
    entries = [(1, 2, 0x9000, 0x6000, b"nvs"), (0, 0, 0x10000, 0x1F0000, b"factory")]
    if vfs:
        entries.append((1, 0x81, 0x200000, 0x80000, b"vfs"))
    table = b"".join(struct.pack("<HBBII16sI", 0x50AA, *entry, 0) for entry in entries)
    header = bytearray(24)
    header[0], header[3] = 0xE9, (size_mb.bit_length() - 1) << 4
    struct.pack_into("<H", header, 12, chip)
    data = bytes(header).ljust(0x7000, b"\xff") + table
    return data.ljust(0xF000, b"\xff") + b"application" * 1000


def test_the_file_system_of_the_image_mounts_on_the_vm_and_the_firmware_in_it_imports(
    image: Image, run_vm: Run, tmp_path: Path
) -> None:
    firmware = compiled(image.vm.architecture)
    joined = join(stock_image(), firmware)
    assert joined.startswith(stock_image())
    (tmp_path / "fs.bin").write_bytes(joined[0x200000 - 0x1000 :])
    mount = MOUNT.replace("{path!r}", repr(str(tmp_path / "fs.bin"))).replace(
        "{size}", str(2 * MB)
    )
    said = run_vm(
        mount
        + "walk('/board')\n"
        + "sys.path[:] = ['/board/a', '/board/a/lib', '.frozen']\n"
        + "import metering.meter, device.identity, cloud.protocol, microdot, version\n"
        + "print(version.VERSION, metering.meter.__file__)\n"
        + "with open('/board/settings', 'w') as f: f.write('x' * 9000)\n",
        heap="8m",
    )
    *files, imported = said.splitlines()
    import hashlib

    assert dict(line.split(" ")[::-1] for line in files) == {
        path: hashlib.sha256(data).hexdigest() for path, data in firmware.items()
    }
    assert imported.endswith("/board/a/metering/meter.mpy")


def test_a_partition_in_the_image_decides_where_the_file_system_lies_else_what_is_left() -> None:
    files = {"main.py": b"print('here')\n"}
    for data, start, length in (
        (stock_image(4), 0x200000, 2 * MB),
        (stock_image(16), 0x200000, 14 * MB),
        (stock_image(4, vfs=True), 0x200000, 0x80000),
    ):
        joined = join(data, files)
        assert joined[start - 0x1000 :] == file_system(files, length)
    assert join(stock_image(4), files, 8 * MB)[0x1FF000:] == file_system(files, 6 * MB)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no image of MicroPython"),
        (b"PK\x03\x04" * 100, "no image of MicroPython"),
        (stock_image(chip=2), "no image of MicroPython"),
        (stock_image()[:0x2000], "no partition table"),
        (stock_image(2), "no room for a file system in 2 MB"),
        (stock_image().ljust(0x200000, b"x"), "more than the 2093056 before its file system"),
    ],
)
def test_a_file_that_is_no_image_for_us_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(ImageFileError, match=words):
        join(data, {"main.py": b""})


def test_firmware_larger_than_the_file_system_is_refused() -> None:
    with pytest.raises(ImageFileError, match="no space"):
        join(stock_image(vfs=True), {"main.py": bytes(600_000)})


def test_the_tool_says_how_to_flash_what_it_made(tmp_path: Path) -> None:
    (tmp_path / "stock.bin").write_bytes(stock_image())
    command = [sys.executable, str(ROOT / "tools" / "image.py")]
    made = tmp_path / "made.bin"
    done = subprocess.run(
        [*command, str(tmp_path / "stock.bin"), "-o", str(made)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"esptool write-flash 0x1000 {made}" in done.stdout
    assert made.stat().st_size > 0x200000
    done = subprocess.run([*command, __file__], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "expected a .bin" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        2,
        "image: expected MicroPython's .bin to join with: make image IMAGE=FILE.bin\n",
    )


def test_the_package_installs_with_mpremote_and_runs(image: Image, tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, str(ROOT / "tools" / "package.py"), "--arch", image.vm.architecture],
        check=True,
        capture_output=True,
    )
    package = ROOT / "build" / f"package-{image.vm.architecture}" / "package.json"
    assert len(json.loads(package.read_text())["urls"]) == len(list(pieces())) + 2

    async def main() -> None:
        async with Bench(image, tmp_path) as on:
            await on.device.until("repl")
            code, said = await on.mpremote("mip", "install", "--target", "/", str(package))
            assert code == 0, said
            code, said = await on.flash("--check")
            assert "write   factory.json" in said  # nothing else is missing
            assert "copy" not in said.replace("to copy", "")

    asyncio.run(main())


def test_the_manifest_freezes_every_module_of_the_firmware() -> None:
    frozen: set[str] = set()
    names = {
        "include": lambda path: None,
        "package": lambda name, base_path: frozen.update(
            str(path.relative_to(FIRMWARE)) for path in (FIRMWARE / name).rglob("*.py")
        ),
        "module": lambda name, base_path: frozen.add(name),
    }
    exec((FIRMWARE / "manifest.py").read_text(), names)
    ours = {str(p.source.relative_to(FIRMWARE)) for p in pieces() if FIRMWARE in p.source.parents}
    modules = {name for name in ours if name.endswith(".py")} - {"boot.py", "run.py", "main.py"}
    assert frozen == modules
