"""Whether a bundle whose manifest is signed may be installed, and room for it. Loaded by
install.py for that, before the files come.

In: the slot with its new manifest, what the device is. Out: Refused in words, or nothing.
"""

import os
from binascii import crc32

from micropython import const

from cloud.install import NEW, lines
from cloud.refused import Refused, Running

_RESERVE = const(16)  # blocks: settings, records, and what LittleFS needs to move
_GONE = const(8)  # files that are removed between two looks at a slot


def fit(folder, have):
    """Returns version, blocks and bytes of a bundle that fits this device. Else Refused."""
    variant, image, native, mpy, bits, root = have
    number = "0.0.0"
    blocks = total = 0
    folders = set()
    for words in lines(folder + NEW):
        name, value = words[0], words[1]
        if name == "file":
            length = int(words[2])
            blocks += -(-length // 4096)
            total += length
            folders.add(words[3].rpartition("/")[0])
        elif name == "version":
            number = value
        elif name == "variants" and variant not in words[1:]:
            raise Refused("it is for %s, this is %s" % (" and ".join(words[1:]), variant))
        elif name == "native" and int(value) != native:
            raise Refused("it is for another processor, " + words[2])
        elif name == "mpy" and value != mpy:
            raise Refused("it is compiled for mpy %s, this device runs %s" % (value, mpy))
        elif name == "small-int-bits" and int(value) > bits:
            raise Refused("it is compiled for small ints of %s bits" % value)
        elif name == "image" and _ordered(value) > _ordered(image.split("-")[0]):
            raise Refused("it needs MicroPython %s, this device has %s" % (value, image))
        elif name == "root" and int(value) > root:
            raise Refused("it needs another boot.py, which no update brings: tools/flash.py does")
    return number, blocks + 2 * len(folders), total


def order(number, version, downgrade):
    if number == version:
        raise Running("%s is already running" % number)
    if _ordered(number) < _ordered(version) and not downgrade:
        raise Refused("%s is older than %s, and no downgrade was asked for" % (number, version))


def _ordered(number):
    """ "0.10.0" as what can be compared."""
    return [int(part) for part in number.split(".")]


def space(folder, blocks):
    stat = os.statvfs("/")
    free = stat[3] * stat[0] // 4096 + sum(-(-size // 4096) for _, size in _walk(folder))
    if blocks + _RESERVE > free:
        raise Refused("no space: it takes %d kB, %d kB are free" % (4 * blocks, 4 * free))


def clean(folder):
    """Removes what the new manifest does not name, and folders that are empty."""
    named = {_short(NEW[1:])}
    for line in lines(folder + NEW):
        if line[0] == "file":
            named.add(_short(line[3]))
    yield
    gone = [""] * _GONE
    while len(gone) == _GONE:  # a whole slot's paths at a time would not fit into memory
        gone = []
        for path, _ in _walk(folder):
            if _short(path) not in named and len(gone) < _GONE:
                gone.append(path)
        for path in gone:
            os.remove(folder + "/" + path)
            yield
    _remove_empty(folder)


def _walk(folder, inside=""):
    """(path, bytes) of every file in a folder, paths from there."""
    for entry in os.ilistdir(folder + "/" + inside if inside else folder):
        path = inside + "/" + entry[0] if inside else entry[0]
        if entry[1] == 0x4000:
            yield from _walk(folder, path)
        else:
            yield path, os.stat(folder + "/" + path)[6]


def _short(path):
    """A number in place of a name: a hundred of them are to fit into memory."""
    return crc32(path.encode()) & 0x3FFFFFFF


def _remove_empty(folder):
    """An empty folder would be imported in place of a module of its name."""
    for entry in list(os.ilistdir(folder)):
        if entry[1] == 0x4000:
            _remove_empty(folder + "/" + entry[0])
            if not list(os.ilistdir(folder + "/" + entry[0])):
                os.rmdir(folder + "/" + entry[0])
