"""The files of a bundle that fits, one after the other. Loaded by install.py for that.

In: lines of the manifest, the bundle's bytes. Out: files that were hashed as they were read back.
"""

import os
from binascii import hexlify

from cloud.install import digest, fetch, make_folder, running
from cloud.refused import Refused


def take(view, offset, line, folder):
    """Makes the file of a manifest's line whole: as it is, from the running slot, or fetched."""
    wanted, size, path = line[1], int(line[2]), line[3]
    target = folder + "/" + path
    if (yield from _holds(view, target, size, wanted)):
        return
    parts = path.split("/")[:-1]
    for depth in range(len(parts)):
        make_folder(folder + "/" + "/".join(parts[: depth + 1]))
    source = "/" + running() + "/" + path
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
            yield from fetch(view, offset, size, file.write)
        if (yield from _holds(view, target, size, wanted)):
            return
    os.remove(target)
    raise Refused("%s did not arrive as it was signed" % path)


def _holds(view, path, size, wanted):
    """Whether a file is there and is what it should be."""
    try:
        if os.stat(path)[6] != size:
            return False
    except OSError:
        return False
    return hexlify((yield from digest(view, path))).decode() == wanted
