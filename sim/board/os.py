# The image's `os`: files, and what the board says it is.
from collections import namedtuple as _namedtuple

import uos as _uos
from _board import config as _config
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

_Uname = _namedtuple("uname", ("sysname", "nodename", "release", "version", "machine"))
_CHIP = _config.get("chip", "esp32").upper()


def uname():
    image = _config.get("image", "1.29.0")
    return _Uname(
        "esp32",
        "esp32",
        image,
        "v%s on 2026-01-01 (simulated)" % image,
        "Generic %s module with %s" % (_CHIP, _CHIP),
    )


def urandom(n):
    return _uos.urandom(n)


def sync():
    pass
