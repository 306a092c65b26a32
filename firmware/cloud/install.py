"""Brings a bundle (tools/bundle.py has the format) into the slot that does not run.

In: the bundle's bytes, asked for as they are needed. Out: the slot whole, each file hashed as it
was read back, and on trial from the next boot on. Nothing is touched before the signature of the
manifest is found good; until the last step, what runs is what starts again. What an interrupted
run has brought is kept, if its hash is right. What takes the manifest (bundle_manifest.py), judges
it (bundle_check.py) and takes the files (bundle_files.py) is loaded for that alone: a board has no
room for all of it at a time.
"""

import errno
import gc
import hashlib
import os
import sys

from micropython import const

from cloud.refused import Refused, Running  # noqa: F401 (who installs takes both from here)
from device.unloading import unload

NEW = "/manifest.new"  # the manifest of a slot that is not whole
_DIGEST_EVERY = const(4)  # buffers; then others have a turn


def about(variant):
    """What a bundle has to fit: (variant, image, native code, mpy version, small int bits, root:
    see boot.py)."""
    mpy = sys.implementation._mpy  # type: ignore[attr-defined]
    bits = 31 if sys.maxsize >> 31 == 0 else 63
    root = getattr(__import__("__main__"), "root", 0)
    version = "%d.%d" % (mpy & 255, mpy >> 8 & 3)
    return variant, os.uname().release, mpy >> 10 & 15, version, bits, root


def install(view, have, version, downgrade, judged):
    """A generator. Yields (offset, size): up to `size` bytes of the bundle from `offset` are to be
    put into the memoryview `view`, and their number sent; or None: there is more to do. Returns
    when the new slot is on trial. `have`: see about(); `version`: the one that runs.
    judged(version, bytes) is called once the bundle is known to be good for this device."""
    from cloud import bundle_manifest as manifest  # noqa: PLC0415 (let go of at once)

    slot = "b" if running() == "a" else "a"
    folder = "/" + slot
    offset = yield from manifest.take(view, folder)
    manifest = None  # type: ignore[assignment]
    unload("cloud.bundle_manifest", "cloud.update_key")
    from cloud import bundle_check as check  # noqa: PLC0415 (let go of at once)

    number, blocks, total = check.fit(folder, have)
    check.order(number, version, downgrade)
    check.space(folder, blocks)
    judged(number, total)
    try:
        os.remove(folder + "/manifest")  # from here on the slot is not whole
    except OSError:
        pass
    yield from check.clean(folder)
    check = None  # type: ignore[assignment]
    unload("cloud.bundle_check")
    from cloud import bundle_files as files  # noqa: PLC0415 (let go of at the end)

    for line in lines(folder + NEW):
        if line[0] == "file":
            yield from files.take(view, offset, line, folder)
            offset += int(line[2])
            yield
    files = None  # type: ignore[assignment]
    unload("cloud.bundle_files")
    os.rename(folder + NEW, folder + "/manifest")
    gc.collect()
    from device.slots import try_out  # noqa: PLC0415 (large, and not needed before)

    try_out(slot)


def running():
    """The letter of the slot that runs; boot.py has put it on the path."""
    return sys.path[0][-1]


def lines(path):
    """The words of each line of a manifest. As in device/slots.py, which is not loaded for it: a
    board has no room for both."""
    with open(path) as file:
        for line in file:
            words = line.split()
            if words:
                yield words


def fetch(view, offset, size, take):
    """`take` gets `size` bytes of the bundle, piece by piece."""
    end = offset + size
    while offset < end:
        count = yield offset, min(len(view), end - offset)
        take(view[:count])
        offset += count


def digest(view, path):
    """SHA-256 of a file as flash has it."""
    sha = hashlib.sha256()
    read = 0
    with open(path, "rb") as file:
        count = file.readinto(view)
        while count:
            sha.update(view[:count])
            read += 1
            if read % _DIGEST_EVERY == 0:
                yield
            count = file.readinto(view)
    return sha.digest()


def make_folder(path):
    try:
        os.mkdir(path)
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise
