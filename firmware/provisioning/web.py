"""Microdot within limits: nothing a client sends, or fails to send, costs more than stated here.

In: a Microdot app, connections. Out: requests for the app that are whole, small and well-formed;
for everything else a status code or a closed socket, without a line on the console (a traceback
at 115200 baud stops the meter for two mains cycles).
"""

import asyncio

from microdot import Request

# What is used of a request's headers, under the names that Microdot looks for.
_KEPT_HEADERS = {
    "host": "Host",
    "origin": "Origin",
    "referer": "Referer",
    "cookie": "Cookie",
    "accept-language": "Accept-Language",
    "content-type": "Content-Type",
    "content-length": "Content-Length",
}
_PIECE = 512  # bytes read at a time
_PACKET = 1400  # bytes written at a time


class Refused(Exception):
    """(status code, reason)"""


class Server:
    #: Bytes of the request line and of all headers together.
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
        self._connections = []
        self._serving = 0
        self._server = None

    async def start(self, address):
        self._server = await asyncio.start_server(self._connected, address[0], address[1])

    async def stop(self):
        self._server.close()
        await self._server.wait_closed()
        self._server = None
        for connection in self._connections:
            connection.task.cancel()

    def expire(self):
        """Ends what took too long; to be called about once a second."""
        now = self._time.ticks_ms()
        for connection in self._connections:
            if self._time.ticks_diff(now, connection.began) > self.seconds_per_request * 1000:
                connection.task.cancel()

    async def _connected(self, reader, writer):
        connection = _Connection(asyncio.current_task(), self._time.ticks_ms())
        try:
            if len(self._connections) >= self.max_connections and not self._make_room():
                return
            self._connections.append(connection)
            await self._converse(connection, reader, writer)
        except OSError:
            pass  # the client has gone
        finally:
            if connection in self._connections:
                self._connections.remove(connection)
            await _close(writer)

    def _make_room(self):
        for connection in self._connections:
            if not connection.asked:
                self._connections.remove(connection)
                connection.task.cancel()
                return True
        return False

    async def _converse(self, connection, reader, writer):
        begun = await reader.read(_PIECE)
        if not begun:
            return
        connection.asked = True
        while self._serving >= self.max_serving:
            await asyncio.sleep(0.05)
        self._serving += 1
        try:
            out = _Writer(writer)
            try:
                request = await self._receive(begun, reader)
            except Refused as refusal:
                await _refuse(out, *refusal.args)
                return
            answer = await self._app.dispatch_request(request)
            await answer.write(out)
            await out.flush()
        finally:
            self._serving -= 1

    async def _receive(self, data, reader):
        """Reads and checks one request. Refused or EOFError if there is none."""
        while True:
            end = data.find(b"\r\n\r\n")
            if end >= 0:
                break
            if len(data) > self.max_head:
                raise Refused(431, "Request header fields too large")
            if b"\n" not in data and len(data) > self.max_request_line:
                raise Refused(414, "URI too long")
            data += await _more(reader)
        method, target, headers = self._parse(data[:end])
        length = _length(headers)
        if length > self.max_body:
            raise Refused(413, "Payload too large")
        body = data[end + 4 :]
        while len(body) < length:
            body += await _more(reader)
        return Request(self._app, None, method, target, "1.0", headers, body=body[:length])

    def _parse(self, head):
        if len(head) > self.max_head:
            raise Refused(431, "Request header fields too large")
        bad = Refused(400, "Bad request")
        lines = head.split(b"\r\n")
        if len(lines[0]) > self.max_request_line:
            raise Refused(414, "URI too long")
        for byte in head:
            if byte > 126 or (byte < 32 and byte not in b"\r\n\t"):
                raise bad
        parts = lines[0].decode().split(" ")
        if len(parts) != 3 or parts[2] not in ("HTTP/1.1", "HTTP/1.0"):
            raise bad
        method, target, _ = parts
        if not method.isalpha() or not method.isupper():
            raise bad
        if not target.startswith("/"):
            # For a proxy (http://somewhere/) or for nobody: not a page of ours in any case.
            target = "/elsewhere"
        headers = {}
        for at in range(1, len(lines)):
            name, colon, value = lines[at].decode().partition(":")
            name = name.lower()
            kept = _KEPT_HEADERS.get(name)
            if not colon or not name or name.strip() != name:
                raise bad
            if name == "transfer-encoding":
                raise Refused(501, "Not implemented")
            if kept:
                if kept in headers and kept in ("Host", "Content-Length"):
                    raise bad
                headers[kept] = value.strip()
        return method, _plain(target), headers


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
        if data:
            self._pieces.append(data)
            self._size += len(data)
            if self._size >= _PACKET:
                await self.flush()

    async def flush(self):
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        self._writer.write(data)
        # What the network took at once needs no waiting for (MicroPython's drain always yields).
        if getattr(self._writer, "out_buf", True):
            await self._writer.drain()


async def _more(reader):
    data = await reader.read(_PIECE)
    if not data:
        raise OSError("closed in the middle of a request")
    return data


async def _refuse(out, status, reason):
    await out.awrite(
        b"HTTP/1.0 %d %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s"
        % (status, reason.encode(), len(reason), reason.encode())
    )
    await out.flush()


async def _close(writer):
    try:
        writer.close()
        await writer.wait_closed()
    except OSError:
        pass


def _length(headers):
    text = headers.get("Content-Length", "0")
    if not 1 <= len(text) <= 9 or not text.isdigit():
        raise Refused(400, "Bad request")
    return int(text)


def _plain(target):
    """The target; without its query if that holds more than names and values of ours.

    Probes of phones carry all kinds of queries, and Microdot's decoder raises on some.
    """
    path, mark, query = target.partition("?")
    if not mark:
        return path
    for letter in query:
        if not (letter.isalpha() or letter.isdigit() or letter in "=&_-"):
            return path
    return target
