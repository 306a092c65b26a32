"""A small record on flash that survives a power cut at any byte.

In: a dict of what JSON can hold. Out: the dict saved last, or, if the power went while it was
being saved, the one before it; never a mixture and never nothing.

<path> is the current copy, <path>.old the one before, <path>.new the one being written. Each
copy carries a number and a CRC-32; the whole copy with the highest number counts.
"""

import json
import os
from binascii import crc32


class Record:
    def __init__(self, path):
        self.path = path
        self.problem = None  # why an older copy, or none, was used: words for a person
        self._number = 0
        self._source = None  # the name that holds the copy in use

    def load(self):
        """The newest whole copy as a dict, or None when there is none. Sets `problem`."""
        self.problem = None
        self._number = 0
        self._source = None
        newest = None
        damaged = []
        for name in (self.path, self.path + ".new", self.path + ".old"):
            try:
                number, content = _read(name)
            except OSError:
                continue
            except ValueError as fault:
                damaged.append("%s: %s" % (name, fault))
                continue
            if newest is None or number > self._number:
                newest = content
                self._number = number
                self._source = name
        # A torn .new is the normal trace of a power cut: only the current copy is missed.
        if damaged and damaged[0].startswith(self.path + ": "):
            self.problem = damaged[0] + (
                "; used %s" % self._source if newest is not None else "; nothing else was left"
            )
        return newest

    def save(self, content):
        """Replaces the copy in use. OSError (flash full, say) leaves the copy in use as it was."""
        new = self.path + ".new"
        if self._source == new:
            # The last save was cut before its last step: finish that before .new is reused.
            os.rename(new, self.path)
            self._source = self.path
        body = ("%d\n%s" % (self._number + 1, json.dumps(content))).encode()
        data = b"%08x\n" % crc32(body) + body
        try:
            with open(new, "wb") as file:
                file.write(data)
            with open(new, "rb") as file:
                if file.read() != data:
                    raise OSError("%s did not read back as written" % new)
        except OSError:
            _remove(new)
            raise
        if self._source == self.path:
            os.rename(self.path, self.path + ".old")
            self._source = self.path + ".old"
        os.rename(new, self.path)
        self._source = self.path
        self._number += 1


def _read(name):
    with open(name, "rb") as file:
        data = file.read()
    if len(data) < 12 or data[8:9] != b"\n":
        raise ValueError("cut short or empty")
    if data[:8] != b"%08x" % crc32(data[9:]):
        raise ValueError("checksum does not match")
    number, text = data[9:].decode().split("\n", 1)
    content = json.loads(text)
    if type(content) is not dict:
        raise ValueError("holds no record")
    return int(number), content


def _remove(name):
    try:
        os.remove(name)
    except OSError:
        pass
