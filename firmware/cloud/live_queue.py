"""Measurements on their way from the meter (main thread) to the uplink (its own thread).

Never blocks and never allocates: a full queue loses its oldest item, and counts it. One writer,
one reader; each number below is written by one of them only, so no lock is needed, with an
interpreter lock (the board) or without one (the desktop's VM).
"""


class LiveQueue:
    def __init__(self, maxlen):
        """`maxlen` items wait at most."""
        self.maxlen = maxlen
        self.dropped = 0  # written by the reader, who finds out
        self._slots = [None] * (maxlen + 1)  # one more than promised: the one being written
        self._written = 0  # by the writer
        self._read = 0  # by the reader
        self._emptied = 0  # by the writer: up to here nothing is kept alive any more

    def __len__(self):
        return min(self._written - self._read, self.maxlen)

    def put(self, item):
        """Writer: appends `item`; the oldest gives way when the queue is full."""
        slots = self._slots
        # What was taken is let go of here: the reader writes no slot, it may be ours by then.
        emptied = max(self._emptied, self._written - len(slots))
        while emptied < self._read:
            slots[emptied % len(slots)] = None
            emptied += 1
        self._emptied = emptied
        slots[self._written % len(slots)] = item
        self._written += 1

    def take(self):
        """Reader: the oldest item still there, or None."""
        while True:
            written = self._written
            if self._read == written:
                return None
            lost = written - self._read - self.maxlen
            if lost > 0:
                self._read += lost
                self.dropped += lost
            item = self._slots[self._read % len(self._slots)]
            # The writer may have come round to this slot meanwhile: then it holds a newer item.
            if self._written - self._read <= self.maxlen:
                self._read += 1
                return item

    def skip_to_newest(self):
        """Reader, after an outage: drops all but the newest item. Returns how many."""
        lost = self._written - 1 - self._read
        if lost <= 0:
            return 0
        self._read += lost
        self.dropped += lost
        return lost
