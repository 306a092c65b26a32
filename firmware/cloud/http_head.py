"""Asks a web server for a file from a byte on, and reads the head of its answer: HTTP/1.1, RFC
9110 and 9112. Loaded by download.py for each connection.

In: a Wire. Out: where in the file the answer's body begins; Refused or Fault in words.
"""

from micropython import const

from cloud.faults import Fault
from cloud.refused import Refused

_LINE = const(512)  # bytes of a line of the answer's head
_LINES = const(64)
_AT_ONCE = const(256)  # bytes of a head in one step


class Head:
    """ended: all of it has been read; at: where the body begins; ranges: whether the server begins
    where it is asked to."""

    def __init__(self, wire, where, offset):
        """Asks; `where`: (True for TLS, host, port, path)."""
        tls, host, port, path = where
        if port != (443 if tls else 80):
            host += ":%d" % port
        wire.write("GET %s HTTP/1.1\r\nHost: %s\r\n" % (path, host))
        wire.write("Range: bytes=%d-\r\n" % offset)
        wire.write("Accept-Encoding: identity\r\nConnection: close\r\n\r\n")
        wire.flush()
        self.ended = False
        self.at = 0
        self.ranges = False
        self._asked = offset
        self._line = bytearray()
        self._lines = 0
        self._status = 0
        self._byte = memoryview(bytearray(1))

    def read(self, receive):
        """`receive(into)` returns how many bytes came."""
        for _ in range(_AT_ONCE):
            if not receive(self._byte):
                return
            if self._byte[0] != 10:
                self._line.append(self._byte[0] & 127)  # always ASCII
                if len(self._line) > _LINE:
                    raise Refused("the server's answer is no HTTP")
                continue
            words = bytes(self._line).decode().strip()
            self._line = bytearray()
            self._lines += 1
            if self._lines == 1:
                self._take_status(words)
            elif words:
                name, _, value = words.partition(":")
                self._take_field(name.lower(), value.strip())
            else:
                self._end()
                return
            if self._lines > _LINES:
                raise Refused("the server's answer is no HTTP")

    def _take_status(self, words):
        parts = words.split(None, 2)
        if len(parts) < 2 or parts[0][:7] != "HTTP/1." or not parts[1].isdigit():
            raise Refused("the server's answer is no HTTP")
        self._status = int(parts[1])
        if self._status == 416:
            raise Refused("the file on the server ends before byte %d" % self._asked)
        if self._status >= 500 or self._status == 429:
            raise Fault("closed", "the server says " + words[9:80])
        if self._status not in (200, 206) and not 300 <= self._status < 400:
            raise Refused("the server says " + words[9:80])

    def _take_field(self, name, value):
        status = self._status
        if name == "location" and 300 <= status < 400:
            raise Refused("the server sends us on to %s: give that address" % value[:160])
        if name == "transfer-encoding" and value != "identity":
            raise Refused("the server sends no plain file but " + value[:40])
        if name == "content-encoding" and value != "identity":
            raise Refused("the server sends no plain file but " + value[:40])
        if name == "content-range" and status == 206:
            start = value.replace("bytes ", "").partition("-")[0]
            if not start.isdigit() or int(start) != self._asked:
                raise Refused("the server sends another part than asked for: " + value[:40])
            self.at = self._asked
        if name == "content-length" and status == 200 and int(value) <= self._asked:
            raise Refused("the file on the server has only %s bytes" % value)

    def _end(self):
        if self._status not in (200, 206):
            raise Refused("the server says %d" % self._status)
        if self._status == 206 and self.at != self._asked:
            raise Refused("the server sends a part and does not say which")
        self.ranges = self._status == 206
        self.ended = True
