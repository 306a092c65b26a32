"""What happens and must reach the broker, made into events. For the main thread.

In: overloads of the meter, findings about the wiring. Out: records for the uplink, numbered.
"""

from cloud import protocol, records


class Events:
    """`record(kind, data)` takes what becomes of an event, `unix_ms()` tells the time or None."""

    def __init__(self, record, unix_ms):
        self.seq = 0
        self._record = record
        self._unix_ms = unix_ms

    def say(self, kind, words, phase=None):
        """`kind` is a word of docs/protocol.md; `phase` 1..3 where it is about one."""
        self.seq += 1
        payload = protocol.event_payload(self.seq, self._unix_ms(), kind, words, phase)
        self._record(*records.event(payload))

    def overload(self, phase, i_ma, seconds, fuse_a):
        """phase 0..2; seconds: None when it begins, how long it was when it has ended."""
        amperes = "%d.%d A" % (i_ma // 1000, i_ma % 1000 // 100)
        if seconds is None:
            words = "L%d carries %s, more than its fuse of %s A" % (phase + 1, amperes, fuse_a)
            self.say("overload", words, phase + 1)
        else:
            words = "L%d carried up to %s for %d s" % (phase + 1, amperes, seconds)
            self.say("overload_end", words, phase + 1)
