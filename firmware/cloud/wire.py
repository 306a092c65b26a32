"""One TCP or TLS connection on which nothing waits longer than it is allowed to.

In: an open connection (dialing.py makes it). Out: a Wire: writes are gathered and sent as one
segment, reads never block. The socket is switched to non-blocking for good, because a time-out on
MicroPython starts anew with every byte: a peer that sends one byte a second, in the middle of a
TLS handshake too, would hold us for minutes.
"""

import errno

from micropython import const

from cloud.faults import CLOSED, SILENT, TLS, Fault

_WRITE_MS = const(5000)  # the peer's window has to open in this time
_POLL_MS = const(5)
_GATHER = const(512)  # bytes that leave in one segment: a measurement is shorter


class Wire:
    def __init__(self, stream, raw, time, alive):
        self._stream = stream
        self._raw = raw
        self._time = time
        self._alive = alive
        self._gathered = bytearray(_GATHER)
        self._view = memoryview(self._gathered)
        self._size = 0
        self._torn = False  # a part of what is being written has left already

    def write(self, data, size=None):
        """Gathers `data` (its first `size` bytes); flush() sends it."""
        if isinstance(data, str):
            data = data.encode()
        if size is None:
            size = len(data)
        start = 0
        while start < size:
            if self._size == _GATHER:
                self.flush()
                self._torn = True
            step = min(size - start, _GATHER - self._size)
            self._gathered[self._size : self._size + step] = data[start : start + step]
            self._size += step
            start += step

    def take_back(self):
        """Forgets what was gathered since the last packet. Returns False if some of it has left:
        then nobody can say any more where the next packet begins."""
        self._size = 0
        return not self._torn

    def flush(self, limit_ms=_WRITE_MS):
        """Sends what was gathered, which ends a packet, or raises Fault after `limit_ms`."""
        sent = 0
        size = self._size
        self._size = 0
        self._torn = True
        started = self._time.ticks_ms()
        while sent < size:
            try:
                step = self._stream.write(self._view[sent:size])
            except (OSError, ValueError) as error:
                raise _stream_fault(error)
            if step:
                sent += step
                continue
            if self._time.ticks_diff(self._time.ticks_ms(), started) > limit_ms:
                raise Fault(SILENT, "the broker took nothing for %d s" % (limit_ms // 1000))
            self._alive()
            self._time.sleep_ms(_POLL_MS)
        self._torn = False

    def receive(self, into):
        """Reads what has arrived into the memoryview `into`; 0 = nothing yet."""
        try:
            size = self._stream.readinto(into)
        except (OSError, ValueError) as error:
            raise _stream_fault(error)
        if size is None:
            return 0
        if size == 0:
            raise Fault(CLOSED, "the broker closed the connection")
        return size

    def setblocking(self, flag):
        """umqtt's; ours never blocks."""

    def close(self):
        for end in (self._stream, self._raw):
            try:
                end.close()
            except OSError:
                pass


def _stream_fault(error):
    if isinstance(error, ValueError):  # what Mbed TLS says of a certificate
        return Fault(TLS, "certificate refused: " + str(error).strip().replace("\n", "; "))
    if error.errno in (errno.ECONNRESET, errno.ECONNABORTED, errno.ENOTCONN, 32):  # 32: EPIPE
        return Fault(CLOSED, "the connection was reset")
    if error.errno is not None and error.errno < -256:  # an error number of Mbed TLS
        return Fault(CLOSED, "TLS failed: %s" % error)
    return Fault(CLOSED, "the connection broke (error %s)" % error.errno)
