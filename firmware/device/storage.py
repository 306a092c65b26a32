"""A small record on flash that survives a power cut at any byte.

In: a dict of what JSON can hold. Out: the dict saved last, or, if the power went while it was
being saved, the one before it; never a mixture and never nothing.

<path> is the current copy, <path>.new the one being written, <path>.old the one before. Each
starts with the CRC-32 of the rest; the first of them, in this order, that is whole counts.
"""

import json
import os
from binascii import crc32


class Record:
    def __init__(self, path):
        self.path = path
        self.problem = None  # why an older copy, or none, was used: words for a person
        self._source = None  # the name that holds the copy in use

    def load(self):
        """The newest whole copy as a dict, or None when there is none. Sets `problem`."""
        self.problem = None
        self._source = None
        content = None
        damaged = []
        for name in (self.path, self.path + ".new", self.path + ".old"):
            try:
                content = _read(name)
                self._source = name
                break
            except OSError:
                pass
            except ValueError as fault:
                damaged.append("%s: %s" % (name, fault))
        # A torn .new is the normal trace of a power cut: only the current copy is missed.
        if damaged and damaged[0].startswith(self.path + ": "):
            self.problem = damaged[0] + (
                "; used %s" % self._source if self._source else "; nothing else was left"
            )
        return content

    def save(self, content):
        """Replaces the copy in use. OSError (flash full, say) leaves the copy in use as it was."""
        new = self.path + ".new"
        if self._source == new:
            # The last save was cut before its last step: finish that before .new is reused.
            os.rename(new, self.path)
            self._source = self.path
        body = json.dumps(content).encode()
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


def _read(name):
    with open(name, "rb") as file:
        data = file.read()
    if len(data) < 10 or data[8:9] != b"\n":
        raise ValueError("cut short or empty")
    if data[:8] != b"%08x" % crc32(data[9:]):
        raise ValueError("checksum does not match")
    content = json.loads(data[9:].decode())
    if type(content) is not dict:
        raise ValueError("holds no record")
    return content


def _remove(name):
    try:
        os.remove(name)
    except OSError:
        pass
