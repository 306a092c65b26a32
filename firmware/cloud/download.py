"""A file on a web server, read piece by piece without ever waiting.

In: a URL, and a function that dials. Out: bytes from any offset on; a connection that breaks is
made anew from there (Range), and a server that knows no ranges is read from the start. What asks
and reads the head of an answer (http_head.py) is loaded for each connection.

What comes is checked by its signature, so nothing here has to be believed. It is not `requests`
of the image because that waits for ever, keeps the whole answer and verifies no certificate.
"""

from micropython import const

from cloud.faults import Fault
from cloud.refused import Refused
from device.unloading import unload

_SKIP = const(16384)  # bytes that are rather read over than asked for anew
_SILENCE_MS = const(20_000)
_WAIT_MS = const(1000)  # after the first fault, twice as long after each further one
_LONGEST_MS = const(60_000)


class Download:
    tries = 12  # in a row without a byte of use: eight minutes

    def __init__(self, where, dial, time):
        """`where`: (True for TLS, host, port, path); `dial(tls, host, port)` returns a Wire
        or raises a Fault."""
        self._where = where
        self._dial = dial
        self._time = time
        self._wire = None  # type: ignore[var-annotated]
        self._head = None  # type: ignore[var-annotated]  # while it comes
        self._ranges = False  # of the server
        self._at = 0  # where in the file the next byte of the body lies
        self._useful = False  # some bytes have come: the server is known to be one
        self._faults = 0
        self._since = time.ticks_ms()  # the last byte, or the last fault
        self._wait_ms = 0

    def read(self, offset, into, size):
        """Reads up to `size` bytes from `offset` on into the memoryview `into`; returns their
        number, 0 = none at the moment. Refused if there is no use in going on."""
        try:
            gap = offset - self._at
            if self._head is None and (gap < 0 or (gap > _SKIP and self._ranges)):
                self.close()
            if self._wire is None:
                if self._silent_for() < self._wait_ms:
                    return 0
                self._ask(offset)
            elif self._head is not None:
                self._head.read(self._receive)
                if self._head.ended:
                    self._at = self._head.at
                    self._ranges = self._head.ranges
                    self._head = None
            elif self._at < offset:
                self._at += self._receive(into[: min(len(into), gap)])
            else:
                count = self._receive(into[:size])
                self._at += count
                if count:
                    self._useful = True
                    self._faults = 0
                return count
        except Fault as fault:
            self._failed(str(fault).replace("the broker", "the server"))
        return 0

    def close(self):
        self._head = None
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    def _silent_for(self):
        return self._time.ticks_diff(self._time.ticks_ms(), self._since)

    def _failed(self, words):
        self.close()
        self._faults += 1
        if self._faults >= (self.tries if self._useful else min(3, self.tries)):
            raise Refused("%s, %d times" % (words, self._faults))
        self._since = self._time.ticks_ms()
        self._wait_ms = min(_WAIT_MS << self._faults - 1, _LONGEST_MS)

    def _receive(self, into):
        count = self._wire.receive(into)  # type: ignore[union-attr]
        if count:
            self._since = self._time.ticks_ms()
        elif self._silent_for() > _SILENCE_MS:
            raise Fault("silent", "the server fell silent")
        return count

    def _ask(self, offset):
        self._wire = self._dial(*self._where[:3])
        from cloud.http_head import Head  # noqa: PLC0415 (let go of with the head)

        self._head = Head(self._wire, self._where, offset)
        unload("cloud.http_head")
        self._since = self._time.ticks_ms()
        self._at = 0
