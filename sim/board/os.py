# The image's `os`: files, and what the board says it is.
from collections import namedtuple

import uos
from _board import config
from uos import (
    VfsFat,
    VfsLfs2,
    chdir,
    getcwd,
    ilistdir,
    listdir,
    mkdir,
    mount,
    remove,
    rename,
    rmdir,
    sep,
    stat,
    statvfs,
    umount,
    unlink,
)

__all__ = (
    "VfsFat",
    "VfsLfs2",
    "chdir",
    "getcwd",
    "ilistdir",
    "listdir",
    "mkdir",
    "mount",
    "remove",
    "rename",
    "rmdir",
    "sep",
    "stat",
    "statvfs",
    "umount",
    "unlink",
)

_Uname = namedtuple("uname", ("sysname", "nodename", "release", "version", "machine"))
_CHIP = {"esp32": "ESP32", "esp32s3": "ESP32S3", "esp32c3": "ESP32C3"}[config.get("chip", "esp32")]


def uname():
    image = config.get("image", "1.29.0")
    return _Uname(
        "esp32",
        "esp32",
        image,
        "v%s on 2026-01-01 (simulated)" % image,
        "Generic %s module with %s" % (_CHIP, _CHIP),
    )


def urandom(n):
    return uos.urandom(n)


def sync():
    pass
