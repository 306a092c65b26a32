"""Microdot within limits: nothing a client sends, or fails to send, costs more than stated here.

In: a Microdot app, connections. Out: requests for the app that are whole, small and well-formed;
for everything else a status code or a closed socket, without a line on the console (a traceback
at 115200 baud stops the meter for two mains cycles).
"""

import asyncio

from microdot import Request
from micropython import const

# What is used of a request's headers, under the names that Microdot looks for.
_KEPT = (
    "Host",
    "Origin",
    "Referer",
    "Cookie",
    "Accept-Language",
    "Content-Type",
    "Content-Length",
)
_PIECE = const(512)  # bytes read at a time
_PACKET = const(2048)  # bytes written at a time


class Refused(Exception):
    """(status code, reason)"""


class Server:
    #: Bytes of the request line and of the whole head.
    max_request_line = 512
    max_head = 3072

    #: Bytes of a request's body.
    max_body = 1024

    #: Requests served at a time, each a few kB of heap; further ones wait for their turn.
    max_serving = 3

    #: Connections open at a time; the board has ten sockets in all. One more makes the
    #: oldest of those leave that have not asked for anything yet (browsers open spare ones).
    max_connections = 5

    #: From the connection to the last byte of the answer.
    seconds_per_request = 10

    def __init__(self, app, time):
        self._app = app
        self._time = time
        self._serving = 0
        self._server = None
        self.connections = []
        Request.max_body_length = Request.max_content_length = self.max_body

    async def start(self, address):
        self._server = await asyncio.start_server(self._connected, address[0], address[1])

    async def stop(self):
        self._server.close()
        await self._server.wait_closed()
        for connection in self.connections:
            connection.task.cancel()

    def expire(self):
        """Ends what took too long; to be called about once a second."""
        now = self._time.ticks_ms()
        for connection in self.connections:
            if self._time.ticks_diff(now, connection.began) > self.seconds_per_request * 1000:
                connection.task.cancel()

    async def _connected(self, reader, writer):
        connection = _Connection(asyncio.current_task(), self._time.ticks_ms())
        try:
            if len(self.connections) < self.max_connections or self._make_room():
                self.connections.append(connection)
                await self._converse(connection, reader, writer)
        except OSError:
            pass  # the client has gone
        finally:
            if connection in self.connections:
                self.connections.remove(connection)
            try:
                writer.close()
                await writer.wait_closed()
            except OSError:
                pass

    def _make_room(self):
        for connection in self.connections:
            if not connection.asked:
                self.connections.remove(connection)
                connection.task.cancel()
                return True
        return False

    async def _converse(self, connection, reader, writer):
        data = await reader.read(_PIECE)
        connection.asked = True
        while self._serving >= self.max_serving:
            await asyncio.sleep(0.05)
        self._serving += 1
        try:
            out = _Writer(writer)
            try:
                request = await self._receive(data, reader)
            except Refused as refusal:
                await out.awrite(b"HTTP/1.0 %d %s\r\n\r\n" % refusal.args)
            else:
                answer = await self._app.dispatch_request(request)
                await answer.write(out)
            await out.flush()
        finally:
            self._serving -= 1

    async def _receive(self, data, reader):
        """Reads and checks one request. Refused, or OSError if it ends half-way."""
        end = data.find(b"\r\n\r\n")
        while end < 0:
            self._check_size(data)
            data += await _more(reader)
            end = data.find(b"\r\n\r\n")
        self._check_size(data[:end])
        method, target, headers = _parse(data[:end])
        length = headers.get("Content-Length", "0")
        if not length.isdigit():
            raise _bad()
        if len(length) > 6 or int(length) > self.max_body:
            raise Refused(413, b"Payload Too Large")
        body = data[end + 4 :]
        while len(body) < int(length):
            body += await _more(reader)
        return Request(self._app, None, method, target, "1.0", headers, body=body[: int(length)])

    def _check_size(self, head):
        line = head.find(b"\r\n")
        if (line if line >= 0 else len(head)) > self.max_request_line:
            raise Refused(414, b"URI Too Long")
        if len(head) > self.max_head:
            raise Refused(431, b"Request Header Fields Too Large")


class _Connection:
    def __init__(self, task, began):
        self.task = task
        self.began = began
        self.asked = False


class _Writer:
    """Collects Microdot's many small writes: each of its own would be a packet, and would wait
    a mains cycle for its turn."""

    def __init__(self, writer):
        self._writer = writer
        self._pieces = []
        self._size = 0

    async def awrite(self, data):
        self._pieces.append(data)
        self._size += len(data)
        if self._size >= _PACKET:
            await self.flush()

    async def flush(self):
        self._writer.write(b"".join(self._pieces))
        self._pieces.clear()
        self._size = 0
        await self._writer.drain()


async def _more(reader):
    data = await reader.read(_PIECE)
    if not data:
        raise OSError("closed in the middle of a request")
    return data


def _bad():
    return Refused(400, b"Bad Request")


def _parse(head):
    """(method, target, headers that are used); Refused if it is not HTTP/1."""
    for byte in head:
        if byte > 126 or (byte < 32 and byte not in b"\r\n\t"):
            raise _bad()
    lines = head.decode().split("\r\n")
    parts = lines.pop(0).split(" ")
    if len(parts) != 3 or parts[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise _bad()
    method, target, _ = parts
    if not method.isalpha() or not method.isupper():
        raise _bad()
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name.strip() != name:
            raise _bad()
        name = name.lower()
        if name == "transfer-encoding":
            raise Refused(501, b"Not Implemented")
        for kept in _KEPT:
            if kept.lower() == name:
                if kept in headers and kept in ("Host", "Content-Length"):
                    raise _bad()
                headers[kept] = value.strip()
    # http://somewhere/ is for a proxy, * for nobody: no page of ours in any case.
    return method, _plain(target) if target.startswith("/") else "/elsewhere", headers


def _plain(target):
    """The target; without its query if that holds more than names and values of ours.

    Probes of phones carry all kinds of queries, and Microdot's decoder raises on some.
    """
    path, _, query = target.partition("?")
    for letter in query:
        if not (letter.isalpha() or letter.isdigit() or letter in "=&_-"):
            return path
    return target
