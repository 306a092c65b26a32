"""Microdot within limits: nothing a client sends, or fails to send, costs more than stated here.

In: connections. Out: Microdot's Requests, whole, small and well-formed, for a function that makes
its Responses; for everything else a status code or a closed socket, without a line on the console
(a traceback at 115200 baud stops the meter for two mains cycles). Microdot's own server and
dispatcher do not reach the board (shipping/whittling.py): they have no such limits and cost heap.
"""

import asyncio

from microdot import Request, Response
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
_PACKET = const(1440)  # bytes written at a time: a full TCP segment of lwIP


class Refused(Exception):
    """(status code, reason)"""


class Server:
    #: Bytes of the request line or of a header, and of all of them together.
    max_line = 512
    max_head = 4096

    #: Bytes of a request's body, and of the one that brings a file.
    max_body = 1024
    max_upload = 4096
    upload = "/ca"

    #: Answers made at a time: one page takes up to 8 kB of heap. Others wait for their turn, at
    #: most this long without a packet under way: a phone may leave in the middle of a page.
    seconds_per_packet = 3

    #: Connections open at a time; the board has ten sockets in all. One more makes the
    #: oldest of those leave that have not asked for anything yet (browsers open spare ones).
    max_connections = 5

    #: From the connection to the last byte of the answer.
    seconds_per_request = 10

    def __init__(self, respond, time, idle=None):
        """`respond(request)` returns the Response, `idle()` is called when the last connection has
        ended."""
        self._respond = respond
        self._idle = idle
        self._time = time
        # Made now: later the heap may have no piece of this size left.
        self._buffer = bytearray(_PACKET)
        self._answering = None  # the connection that has the buffer
        self.connections = []

    async def start(self, address):
        self._server = await asyncio.start_server(self._connected, address[0], address[1])

    async def stop(self):
        self._server.close()
        await self._server.wait_closed()
        for connection in self.connections:
            connection.task.cancel()

    def expire(self):
        """Ends what took too long; to be called about once a second."""
        for connection in self.connections:
            if self._since(connection.began) > self.seconds_per_request * 1000:
                connection.task.cancel()
        stuck = self._answering
        if stuck and self._since(stuck.moved) > self.seconds_per_packet * 1000:
            stuck.task.cancel()

    def _since(self, ticks):
        return self._time.ticks_diff(self._time.ticks_ms(), ticks)

    async def _connected(self, reader, writer):
        connection = _Connection(asyncio.current_task(), self._time.ticks_ms())
        try:
            if len(self.connections) < self.max_connections or self._make_room():
                self.connections.append(connection)
                await self._converse(connection, reader, writer)
        except (OSError, MemoryError):
            pass  # the client has gone, or must come again
        finally:
            if connection in self.connections:
                self.connections.remove(connection)
            if self._idle and not self.connections:
                self._idle()
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
        request = answer = None
        try:
            request = await self._receive(data, reader)
        except Refused as refusal:
            answer = Response("", refusal.args[0], reason=refusal.args[1])
        del data
        while self._answering:
            await asyncio.sleep(0.02)
        self._answering = connection
        try:
            connection.moved = self._time.ticks_ms()
            if request:
                answer = self._made(request)
            await _send(_Writer(writer, self._buffer, connection, self._time), answer)
        finally:
            self._answering = None

    def _made(self, request):
        try:
            answer = self._respond(request)
        except Exception as fault:  # ours: it must neither end the device nor stay unseen
            print("portal: %s: %r" % (request.path, fault))
            answer = Response("", 500, reason="Internal Server Error")
        answer.is_head = request.method == "HEAD"
        return answer

    async def _receive(self, data, reader):
        """Reads and checks one request, a line at a time: there may be no piece of the heap left
        for a whole head. Refused, or OSError if it ends half-way."""
        first = None
        headers: dict = {}
        room = self.max_head
        while True:
            end = data.find(b"\r\n")
            if (end if end >= 0 else len(data)) > self.max_line or room < 0:
                raise Refused(431 if first else 414, "Too Long")
            if end < 0:
                data += await _more(reader)
            elif end == 0:
                break
            else:
                if first:
                    _header(_text(data[:end]), headers)
                else:
                    first = _request_line(_text(data[:end]))
                data = data[end + 2 :]
                room -= end + 2
        if not first:
            raise _bad()
        length = headers.get("Content-Length", "0")
        if not length.isdigit():
            raise _bad()
        room = self.max_upload if first[1] == self.upload else self.max_body
        if len(length) > 6 or int(length) > room:
            if len(length) > 6 or room == self.max_body:
                raise Refused(413, "Payload Too Large")
            # The wrong file was picked. A browser shows no answer before it has sent everything.
            left = int(length) - len(data) + 2
            while left > 0:
                left -= len(await _more(reader))
            length = headers["Content-Length"] = "0"
        body = bytearray(int(length))
        data = data[2 : 2 + len(body)]
        have = 0
        while True:
            body[have : have + len(data)] = data
            have += len(data)
            if have == len(body):
                break
            data = (await _more(reader))[: len(body) - have]
        # A form must be bytes: Microdot takes it apart.
        whole = bytes(body) if room == self.max_body else body
        return Request(None, None, first[0], first[1], "1.0", headers, body=whole)


class _Connection:
    def __init__(self, task, began):
        self.task = task
        self.began = self.moved = began
        self.asked = False


class _Writer:
    """Collects small writes in a buffer: each of its own would be a packet, and would wait a mains
    cycle for its turn."""

    def __init__(self, writer, buffer, connection, time):
        self._writer = writer
        self._connection = connection
        self._time = time
        self._buffer = memoryview(buffer)
        self._used = 0

    async def write(self, data):
        data = memoryview(data)
        while data:
            size = min(len(data), len(self._buffer) - self._used)
            self._buffer[self._used : self._used + size] = data[:size]
            self._used += size
            data = data[size:]
            if self._used == len(self._buffer):
                await self.flush()

    async def flush(self):
        self._writer.write(self._buffer[: self._used])
        self._used = 0
        await self._writer.drain()
        self._connection.moved = self._time.ticks_ms()


async def _send(out, answer):
    """Sends a Response whose body is bytes or an iterator of str or bytes."""
    await out.write(("HTTP/1.0 %d %s\r\n" % (answer.status_code, answer.reason or "-")).encode())
    answer.headers.setdefault("Content-Type", "text/plain")
    for name, value in answer.headers.items():
        await out.write(("%s: %s\r\n" % (name, value)).encode())
    await out.write(b"\r\n")
    if not answer.is_head:
        for part in (answer.body,) if isinstance(answer.body, bytes) else answer.body:
            await out.write(part.encode() if isinstance(part, str) else part)
    await out.flush()


async def _more(reader):
    data = await reader.read(_PIECE)
    if not data:
        raise OSError("closed in the middle of a request")
    return data


def _bad():
    return Refused(400, "Bad Request")


def _text(line):
    for byte in line:
        if not 32 <= byte <= 126 and byte != 9:
            raise _bad()
    return line.decode()


def _request_line(line):
    """(method, target); Refused if it is not HTTP/1."""
    parts = line.split(" ")
    if len(parts) != 3 or parts[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise _bad()
    method, target, _ = parts
    if not method.isalpha() or not method.isupper():
        raise _bad()
    # http://somewhere/ is for a proxy, * for nobody: no page of ours in any case.
    return method, _plain(target) if target.startswith("/") else "/elsewhere"


def _header(line, headers):
    """Adds one header to those that are used."""
    name, colon, value = line.partition(":")
    if not colon or not name or name.strip() != name:
        raise _bad()
    name = name.lower()
    if name == "transfer-encoding":
        raise Refused(501, "Not Implemented")
    for kept in _KEPT:
        if kept.lower() == name:
            if kept in headers and kept in ("Host", "Content-Length"):
                raise _bad()
            headers[kept] = value.strip()


def _plain(target):
    """The target; without its query if that holds more than names and values of ours.

    Probes of phones carry all kinds of queries, and Microdot's decoder raises on some.
    """
    path, _, query = target.partition("?")
    for letter in query:
        if not (letter.isalpha() or letter.isdigit() or letter in "=&_-"):
            return path
    return target
