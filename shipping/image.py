"""Images of an ESP32's flash: MicroPython's, as downloaded, and one with our file system in it.

`chip_of(data)` says for which chip a downloaded image is. `join(data, firmware, ...)` gives one
file to be written where the chip looks for its bootloader: MicroPython, and behind it the LittleFS
partition that ports/esp32 mounts as `/`, holding `firmware`.

Formats: docs.espressif.com, "Firmware Image Format" and "Partition Tables".
"""

from __future__ import annotations

import struct
from pathlib import PurePosixPath

from littlefs import LittleFS

# Where each chip's ROM looks for the bootloader, at which a downloaded image begins.
CHIP_IDS = {"ESP32": 0x1000, "ESP32S3": 0x0, "ESP32C3": 0x0}
ARCHITECTURES = {"ESP32": "xtensawin", "ESP32S3": "xtensawin", "ESP32C3": "rv32imc"}

_CHIPS = {0: "ESP32", 9: "ESP32S3", 5: "ESP32C3"}
_MAGIC = 0xE9
_TABLE = 0x8000
_ENTRY = struct.Struct("<HBBII16sI")
_ENTRY_MAGIC = 0x50AA
_DATA, _FAT = 1, 0x81
_BLOCK = 4096
_LITTLEFS_2_0 = 0x00020000  # what every supported image reads


class ImageFileError(Exception):
    """A file that is no image we can use; the words say what it is and what is expected."""


def chip_of(data: bytes) -> str:
    """The chip a downloaded image is for, a key of CHIP_IDS."""
    chip = _CHIPS.get(struct.unpack_from("<H", data, 12)[0]) if len(data) > 16 else None
    if not data or data[0] != _MAGIC or chip is None:
        raise ImageFileError(
            "this is no image of MicroPython for the ESP32; expected a .bin from "
            "micropython.org/download/ESP32_GENERIC"
        )
    return chip


def join(data: bytes, firmware: dict[str, bytes], flash_bytes: int | None = None) -> bytes:
    """MicroPython's image and a LittleFS with `firmware` (paths and bytes), as one.

    flash_bytes: the size of the board's flash chip, if it is not what the image's header says:
    newer images have no entry for the file system and give it all that is left.
    """
    chip = chip_of(data)
    first = CHIP_IDS[chip]
    size = flash_bytes or _flash_bytes(data)
    start, length = _file_system(data, first, size)
    if len(data) > start - first:
        raise ImageFileError(
            f"the image is {len(data)} bytes, more than the {start - first} before its file system"
        )
    return data.ljust(start - first, b"\xff") + file_system(firmware, length)


def file_system(files: dict[str, bytes], length: int) -> bytes:
    """A LittleFS of `length` bytes as MicroPython's VfsLfs2 makes it; blocks at the end that were
    never written are left out."""
    fs = LittleFS(
        block_size=_BLOCK,
        block_count=length // _BLOCK,
        read_size=32,
        prog_size=32,
        cache_size=128,
        lookahead_size=32,
        disk_version=_LITTLEFS_2_0,
    )
    needed = sum(-(-len(content) // _BLOCK) * _BLOCK for content in files.values())
    if needed > length - 16 * _BLOCK:
        raise ImageFileError(
            f"no space: the firmware takes {needed // 1024} kB, the file system has "
            f"{length // 1024} kB; name the flash chip's size if it is larger"
        )
    for path, content in files.items():
        parents = [str(parent) for parent in PurePosixPath(path).parents][-2::-1]
        for parent in parents:
            fs.makedirs(parent, exist_ok=True)
        with fs.open(path, "wb") as file:
            file.write(content)
    blocks = bytes(fs.context.buffer)
    used = len(blocks)
    while used and blocks[used - _BLOCK : used] == b"\xff" * _BLOCK:
        used -= _BLOCK
    return blocks[:used]


def _flash_bytes(data: bytes) -> int:
    return 1 << 20 << (data[3] >> 4)


def _file_system(data: bytes, first: int, flash_bytes: int) -> tuple[int, int]:
    """Where the file system begins in flash, and its length; as boardctrl_startup() in
    ports/esp32/main.c finds or makes it."""
    end = 0
    at = _TABLE - first
    while at + _ENTRY.size <= len(data):
        magic, kind, sub, offset, length, label, _ = _ENTRY.unpack_from(data, at)
        if magic != _ENTRY_MAGIC:
            break
        if kind == _DATA and sub == _FAT and label.rstrip(b"\0") == b"vfs":
            return offset, length
        end = max(end, offset + length)
        at += _ENTRY.size
    if not end:
        raise ImageFileError("no partition table in the image; expected a full .bin, not .app-bin")
    if end >= flash_bytes:
        raise ImageFileError(
            f"no room for a file system in {flash_bytes >> 20} MB of flash; name its real size"
        )
    return end, flash_bytes - end
