"""Brings a bundle (tools/bundle.py has the format) into the slot that does not run.

In: the bundle's bytes, asked for as they are needed. Out: the slot whole, each file hashed as it
was read back, and on trial from the next boot on. Nothing is touched before the signature of the
manifest is found good; until the last step, what runs is what starts again. What an interrupted
run has brought is kept, if its hash is right. What verifies (signature.py) and judges a bundle
(bundle_check.py) is loaded for that alone: a board has no room for all of it at a time.
"""

import errno
import gc
import hashlib
import os
import sys
from binascii import hexlify

from micropython import const

from device import slots
from device.unloading import unload

NEW = "/manifest.new"  # the manifest of a slot that is not whole
_KEY = "/update.key"
_KEY_BYTES = const(384)
_FIRST_BYTES = const(25)  # of the manifest: its format and its size
_MANIFEST_BYTES = const(16384)
_DIGEST_EVERY = const(4)  # buffers; then others have a turn


class Refused(Exception):
    """The update is over, what runs goes on running. str() says why."""


class Running(Refused):
    """There is nothing to do: that version runs already."""


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
    key = _read_key()
    slot = slots.other(slots.running())
    folder = slots.root + "/" + slot
    _make_folder(folder)
    size, signed = yield from _take_manifest(view, folder)
    if not (yield from _is_signed(view, folder, key, signed)):
        os.remove(folder + NEW)
        raise Refused("the bundle is not signed with the key of this device")
    key = signed = None
    from cloud import bundle_check as check  # noqa: PLC0415 (let go of at once)

    try:
        number, blocks, total = check.fit(slot, have)
        check.order(number, version, downgrade)
        check.space(folder, blocks)
        judged(number, total)
        try:
            os.remove(folder + "/manifest")  # from here on the slot is not whole
        except OSError:
            pass
        yield from check.clean(slot, folder)
    finally:
        check = None  # type: ignore[assignment]
        unload("cloud.bundle_check")
    offset = size + _KEY_BYTES
    for line in slots.lines(slot, NEW):
        if line[0] == "file":
            yield from _take_file(view, offset, line, folder)
            offset += int(line[2])
            yield
    os.rename(folder + NEW, folder + "/manifest")
    slots.try_out(slot)


# --- the manifest


def _read_key():
    try:
        with open(slots.root + _KEY, "rb") as file:
            key = file.read()
    except OSError:
        raise Refused("this device has no key to check updates with: flash.py --update-key")
    if len(key) != _KEY_BYTES:
        raise Refused("the update key of this device is damaged")
    return key


def _take_manifest(view, folder):
    """Returns its size, and the signature that came with it: nothing is checked yet."""
    first = bytearray()
    yield from _fetch(view, 0, _FIRST_BYTES, first.extend)
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
        yield from _fetch(view, _FIRST_BYTES, size - _FIRST_BYTES, file.write)
    signed = bytearray()
    yield from _fetch(view, size, _KEY_BYTES, signed.extend)
    return size, signed


def _is_signed(view, folder, key, signed):
    found = yield from _digest(view, folder + NEW)
    from cloud.signature import verify  # noqa: PLC0415 (let go of at once)

    work = verify(key, found, signed)
    unload("cloud.signature")
    while True:
        gc.collect()  # a multiplication takes 3 kB, in pieces of 768 bytes
        try:
            next(work)
        except StopIteration as end:
            return end.value
        yield


# --- the files


def _take_file(view, offset, line, folder):
    """Makes the file of a manifest's line whole: as it is, from the running slot, or fetched."""
    wanted, size, path = line[1], int(line[2]), line[3]
    target = folder + "/" + path
    if (yield from _holds(view, target, size, wanted)):
        return
    parts = path.split("/")[:-1]
    for depth in range(len(parts)):
        _make_folder(folder + "/" + "/".join(parts[: depth + 1]))
    source = slots.root + "/" + slots.running() + "/" + path
    if (yield from _holds(view, source, size, wanted)):
        with open(source, "rb") as old, open(target, "wb") as new:
            count = old.readinto(view)
            while count:
                new.write(view[:count])
                yield
                count = old.readinto(view)
        if (yield from _holds(view, target, size, wanted)):
            return
    for _ in range(2):
        with open(target, "wb") as file:
            yield from _fetch(view, offset, size, file.write)
        if (yield from _holds(view, target, size, wanted)):
            return
    os.remove(target)
    raise Refused("%s did not arrive as it was signed" % path)


def _fetch(view, offset, size, take):
    end = offset + size
    while offset < end:
        count = yield offset, min(len(view), end - offset)
        take(view[:count])
        offset += count


def _holds(view, path, size, wanted):
    """Whether a file is there and is what it should be."""
    try:
        if os.stat(path)[6] != size:
            return False
    except OSError:
        return False
    return hexlify((yield from _digest(view, path))).decode() == wanted


def _digest(view, path):
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


def walk(folder, inside=""):
    """(path, bytes) of every file in a folder, paths from there."""
    for entry in os.ilistdir(folder + "/" + inside if inside else folder):
        path = inside + "/" + entry[0] if inside else entry[0]
        if entry[1] == 0x4000:
            yield from walk(folder, path)
        else:
            yield path, os.stat(folder + "/" + path)[6]


def _make_folder(path):
    try:
        os.mkdir(path)
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise
