"""The backlog's part on flash: a ring of numbered segment files. Loaded while something is kept.

An entry carries its length and a CRC-32: what a power cut left torn is recognised, and nothing is
ever written behind it.

Size. A minute is 63 bytes, seven days of them 635 kB: 80 segments of 8 kB, two blocks each. When
all are full the oldest segment goes, and append() tells how many records went with it.
Flash wear. An outage rewrites the segment's last block once a minute: 10,080 erases in seven days,
which LittleFS spreads over the free blocks (500 of 4 kB: 20 each; NOR flash is rated for
100,000). While the broker answers nothing is written.
"""

import os
import struct
from binascii import crc32

from micropython import const

from device.storage import Record

_HEADER = "<HBI"  # length of the data, kind, CRC-32 of kind and data
_HEADER_SIZE = const(7)
_LONGEST = const(512)  # bytes of an entry


class Segments:
    """`last` is the number of the newest segment: how many there were."""

    segments = 84
    segment_bytes = 8192 - 64
    save_every = 16  # acknowledged records between two notes of how far we are

    def __init__(self, folder):
        self._folder = folder
        self._unsaved = 0
        self._mark = Record(folder + "/mark")
        mark = self._mark.load() or {}
        self._numbers = sorted(
            int(name[:-4]) for name in os.listdir(folder) if name[-4:] == ".seg"
        )
        self._offset = 0  # in the oldest segment, of its first entry not acknowledged
        if self._numbers and mark.get("segment") == self._numbers[0]:
            self._offset = mark.get("offset", 0)
        # A torn end may follow the last whole entry: never write behind it.
        self._end = self.segment_bytes
        self.last = max(self._numbers + [mark.get("segment", 0)])

    def append(self, kind, data):
        """Writes an entry; it is durable when this returns. OSError: it is not. Returns how many
        of the oldest had to go for it."""
        lost = 0
        if self._end + _HEADER_SIZE + len(data) > self.segment_bytes:
            self.last += 1
            self._numbers.append(self.last)
            self._end = 0
            if len(self._numbers) > self.segments:
                lost = self._lose_oldest()
        body = bytes((kind,)) + data
        entry = struct.pack(_HEADER, len(data), kind, crc32(body)) + data
        end = self._end
        self._end = self.segment_bytes  # if this write is cut, the next goes elsewhere
        with open(self._path(self.last), "ab") as file:
            file.write(entry)
        self._end = end + len(entry)
        return lost

    def peek(self):
        """(kind, data) of the oldest entry, or None."""
        while self._numbers:
            entry = self._entry(self._numbers[0], self._offset)
            if entry is not None:
                return entry
            self._forget_oldest()
        return None

    def drop(self):
        """The entry that peek() returned is acknowledged."""
        self._offset += _HEADER_SIZE + len(self._entry(self._numbers[0], self._offset)[1])
        self._unsaved += 1
        if self._entry(self._numbers[0], self._offset) is None:
            self._forget_oldest()
        elif self._unsaved >= self.save_every:
            self._save_mark()

    def _entry(self, number, offset):
        """(kind, data), or None where no whole entry follows."""
        try:
            with open(self._path(number), "rb") as file:
                file.seek(offset)
                header = file.read(_HEADER_SIZE)
                if len(header) < _HEADER_SIZE:
                    return None
                size, kind, check = struct.unpack(_HEADER, header)
                data = file.read(size) if size <= _LONGEST else b""
        except OSError:
            return None
        if len(data) != size or crc32(bytes((kind,)) + data) != check:
            return None
        return kind, data

    def _lose_oldest(self):
        lost = 0
        entry = self._entry(self._numbers[0], self._offset)
        while entry is not None:
            self._offset += _HEADER_SIZE + len(entry[1])
            lost += 1
            entry = self._entry(self._numbers[0], self._offset)
        self._forget_oldest()
        return lost

    def _forget_oldest(self):
        number = self._numbers.pop(0)
        self._offset = 0
        if not self._numbers:
            self._end = self.segment_bytes
        try:
            os.remove(self._path(number))
        except OSError:  # then the next start finds it again, and `seq` tells
            pass

    def _save_mark(self):
        self._unsaved = 0
        try:
            self._mark.save({"segment": self._numbers[0], "offset": self._offset})
        except OSError:  # then some records are sent twice after a power cut; `seq` tells
            pass

    def _path(self, number):
        return "%s/%08d.seg" % (self._folder, number)
