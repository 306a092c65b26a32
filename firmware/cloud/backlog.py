"""Energy records and events that wait for the broker: in order, each until it is acknowledged.

In: put(kind, data) as they are made, drop() when the broker has one. Out: peek(), the oldest.
While the broker is there records pass through memory; when it is not, keep() moves them to flash
(segments.py, which is in memory only while there is something on flash).
"""

import os

from micropython import const

from device.unloading import unload

_LONGEST = const(512)  # bytes of a record


class Backlog:
    """For one thread. `folder` is its own; `lost` counts what had to go unsent, `problem` says
    in words why flash cannot be used, or None; `last` is the number of segments ever begun."""

    in_memory = 8  # records
    in_need = 24  # while there is no memory to write them to flash

    def __init__(self, folder):
        self.lost = 0
        self.waiting = False  # something came since keep()
        self.problem = None
        self._folder = folder
        self._memory = []  # (kind, data), oldest first; all newer than what is on flash
        self.last = 0
        try:
            os.mkdir(folder)
        except OSError:  # it is there already; if not, the first write will say so
            pass
        self._flash = self.open()  # Segments; None: nothing there
        self.last = self._flash.last
        self.peek()

    def open(self):
        """What is kept on flash."""
        from cloud.segments import Segments  # noqa: PLC0415 (needed in an outage and after it)

        kept = Segments(self._folder)
        kept.last = max(kept.last, self.last)
        return kept

    def put(self, kind, data):
        """Adds a record (`kind` 0-255, bytes). Memory only, unless it is full."""
        if len(data) > _LONGEST:
            raise ValueError("a record of %d bytes, expected %d at most" % (len(data), _LONGEST))
        self._memory.append((kind, data))
        self.waiting = True
        if len(self._memory) > self.in_memory:
            self.keep()

    def keep(self):
        """Writes what is in memory to flash: the broker is not there. What finds no room on
        flash stays in memory, if it finds room there; `problem` says so."""
        self.problem = None
        self.waiting = False
        room = self.in_memory
        try:
            while self._memory:
                if self._flash is None:
                    self._flash = self.open()
                self.lost += self._flash.append(*self._memory[0])
                self.last = self._flash.last
                self._memory.pop(0)
        except OSError as fault:
            self.problem = "records cannot be kept on flash (error %s)" % fault.errno
        except MemoryError:
            self.problem = "no memory to keep records on flash"
            self.waiting = True
            room = self.in_need
        while len(self._memory) > room:
            self._memory.pop(0)
            self.lost += 1

    def peek(self):
        """(kind, data, late) of the oldest record, or None. `late`: it has been on flash."""
        if self._flash is not None:
            entry = self._flash.peek()
            if entry is not None:
                return entry[0], entry[1], True
            self._flash = None
            unload("cloud.segments")
        if self._memory:
            kind, data = self._memory[0]
            return kind, data, False
        return None

    def drop(self):
        """The record that peek() returns is acknowledged."""
        if self._flash is not None and self._flash.peek() is not None:
            self._flash.drop()
        else:
            self._memory.pop(0)
