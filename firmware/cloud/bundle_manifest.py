"""The manifest of a bundle, and whether who may has signed it. Loaded by install.py for that.

In: the bundle's bytes. Out: the manifest on flash; Refused in words if it is not to be believed.
"""

import gc
import os

from micropython import const

from cloud import update_key
from cloud.install import NEW, digest, fetch, make_folder
from cloud.refused import Refused
from device.unloading import unload

_FIRST_BYTES = const(25)  # of the manifest: its format and its size
_MANIFEST_BYTES = const(16384)


def take(view, folder):
    """Returns where in the bundle the files begin: the device's key has signed the manifest."""
    missing = update_key.fault()
    if missing:
        raise Refused(missing)
    make_folder(folder)
    size = yield from _fetched(view, folder)
    found = yield from digest(view, folder + NEW)
    signature = bytearray()
    yield from fetch(view, size, update_key.BYTES, signature.extend)
    from cloud.signature import verify  # noqa: PLC0415 (let go of at once)

    with open(update_key.PATH, "rb") as file:
        work = verify(file.read(), found, signature)
    unload("cloud.signature")
    signature = verify = None  # type: ignore[assignment]  # as a number it is there once more
    if not (yield from _outcome(work)):
        os.remove(folder + NEW)
        raise Refused("the bundle is not signed with the key of this device")
    return size + update_key.BYTES


def _fetched(view, folder):
    """Returns its size: nothing is checked yet."""
    first = bytearray()
    yield from fetch(view, 0, _FIRST_BYTES, first.extend)
    words = bytes(first).split()
    if len(words) != 3 or words[0] != b"ampguard-bundle" or not words[2].isdigit():
        raise Refused("this is no bundle of the Amp Guard")
    if words[1] != b"1":
        raise Refused("the bundle has format %s, this device reads 1" % str(words[1], "ascii"))
    size = int(words[2])
    if not _FIRST_BYTES < size <= _MANIFEST_BYTES:
        raise Refused("the bundle's manifest has %d bytes, expected at most 16384" % size)
    with open(folder + NEW, "wb") as file:
        file.write(first)
        yield from fetch(view, _FIRST_BYTES, size - _FIRST_BYTES, file.write)
    return size


def _outcome(work):
    """What verify() returns."""
    while True:
        gc.collect()  # a multiplication takes 3 kB, in pieces of 768 bytes
        try:
            next(work)
        except StopIteration as end:
            return end.value
        yield
