"""Microdot within limits: nothing a client sends, or fails to send, costs more than stated here.

In: connections. Out: Microdot's Requests, whole, small and well-formed, for a function that makes
Responses; for everything else a status code or a closed socket, without a line on the console
(a traceback at 115200 baud stops the meter for two mains cycles). Microdot's own server and
dispatcher do not reach the board (shipping/whittling.py): they have no such limits and cost heap.
"""

import asyncio
import gc

from micropython import const

# What is used of a request's headers.
_KEPT = b" host origin referer cookie accept-language content-type content-length "
_PIECE = const(512)  # bytes read at a time
PACKET = const(1440)  # bytes written at a time: a full TCP segment of lwIP
_POLL_S = 0.04  # between two looks of who waits
_BUSY = b'<meta http-equiv="refresh" content="2"><h1>...</h1>'  # in every language; asks again


class Refused(Exception):
    """(status code, reason)"""


class Response:
    """body: str, bytes, or an iterator of both, closed after use if it can be; `headers`: a dict
    that this Response may add to."""

    is_head = False

    def __init__(self, body, status_code, headers, reason):
        self.body = body.encode() if isinstance(body, str) else body
        self.status_code = status_code
        self.headers = headers
        self.reason = reason


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
    #: oldest of those leave that have not asked for anything yet (browsers open spare ones), or
    #: else that stopped in the middle of a request more than 2 s ago.
    max_connections = 5
    seconds_per_half = 2

    #: While the meter is further behind than this, answers wait for it: what was well asked at
    #: most so long, what was not until the meter has caught up. Far behind they wait longer: what
    #: the meter tolerates and this much more are a twentieth of ten seconds. But a phone is
    #: answered even where something else keeps the meter from catching up.
    behind_us = 20_000
    seconds_of_rest = 0.11
    far_behind_us = 90_000
    seconds_of_long_rest = 3

    #: From the connection to the first byte of a request, and from there to the answer's last.
    seconds_per_request = 10

    def __init__(self, respond, time, idle=None, meter=None, buffer=None):
        """`respond(request)` returns the Response, `idle()` is called when the last connection has
        ended, `meter.behind_us` is what the answers cost the meter."""
        self._respond = respond
        self._meter = meter
        self._idle = idle
        self._time = time
        # From the start: later the heap may have no piece of this size left.
        self._buffer = buffer or bytearray(PACKET)
        self._answering = None  # the connection that has the buffer
        self._server = None
        self.connections = []

    async def start(self, address):
        self._server = await asyncio.start_server(self._connected, address[0], address[1])

    def stop(self):
        if self._server:
            self._server.close()
        for connection in self.connections:
            connection.task.cancel()

    def expire(self):
        """Ends what took too long; to be called about once a second. MemoryError: who comes is
        not heard any more (asyncio's listener has found no room for somebody)."""
        listening = getattr(self._server, "task", None)  # not CPython's
        if listening and listening.done():
            raise MemoryError
        for connection in self.connections:
            if self._since(connection.began) > self.seconds_per_request * 1000:
                connection.task.cancel()
        stuck = self._answering
        if stuck and self._since(stuck.moved) > self.seconds_per_packet * 1000:
            stuck.task.cancel()

    def _since(self, ticks):
        return self._time.ticks_diff(self._time.ticks_ms(), ticks)

    async def _connected(self, reader, writer):
        connection = None
        try:
            connection = _Connection(asyncio.current_task(), self._time, writer, self._buffer)
            if len(self.connections) < self.max_connections or self._make_room():
                self.connections.append(connection)
                await self._converse(connection, reader)
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
        patience = self.seconds_per_half * 1000
        for asked in (False, True):
            for connection in self.connections:
                if connection.moved is not None or connection.asked != asked:
                    continue
                if not asked or self._since(connection.began) > patience:
                    self.connections.remove(connection)
                    connection.task.cancel()
                    return True
        return False

    async def _converse(self, connection, reader):
        data = await reader.read(_PIECE)
        connection.asked = True
        connection.began = self._time.ticks_ms()  # a browser's spare one may be seconds old
        request = answer = None
        try:
            request = await self._receive(data, reader)
        except Refused as refusal:
            answer = Response("", refusal.args[0], {}, refusal.args[1])
        del data
        if request:
            connection.moved = connection.began  # it has asked, whole
        else:
            connection.asked = False  # it goes first where room is needed
        while self._answering or self._must_rest(request, connection):
            await asyncio.sleep(_POLL_S)
        self._answering = connection
        try:
            connection.moved = self._time.ticks_ms()
            if request:
                answer = self._made(request)
            await _send(connection, answer)
        finally:
            self._answering = None
            if answer and hasattr(answer.body, "close"):
                answer.body.close()  # a page whose phone has left has files open

    def _must_rest(self, request, connection):
        behind_us = self._meter.behind_us if self._meter else 0
        if not request:
            return behind_us > self.behind_us
        far = behind_us > self.far_behind_us
        rest = self.seconds_of_long_rest if far else self.seconds_of_rest
        return behind_us > self.behind_us and self._since(connection.began) <= rest * 1000

    def _made(self, request):
        try:
            answer = self._respond(request)
        except MemoryError:
            gc.collect()
            answer = Response(_BUSY, 503, {"Content-Type": "text/html"}, "Busy")
        except Exception as fault:  # ours: it must neither end the device nor stay unseen
            print("portal: %s: %r" % (request.path, fault))
            answer = Response("", 500, {}, "Internal Server Error")
        answer.is_head = request.method == "HEAD"
        return answer

    async def _receive(self, data, reader):
        """Reads and checks one request, a line at a time: there may be no piece of the heap left
        for a whole head. Refused, or OSError if it ends half-way."""
        first = None
        headers: dict = {}
        room = self.max_head
        at = 0
        while True:
            end = data.find(b"\r\n", at)
            if (end if end >= 0 else len(data)) - at > self.max_line or room < 0:
                raise Refused(431 if first else 414, "Too Long")
            if end < 0:
                data = data[at:] + await _more(reader)
                at = 0
                continue
            line = data[at:end]
            at = end + 2
            room -= len(line) + 2
            if not line:
                break
            # Nothing but what is printable in ASCII, and tabs. (min and max are quicker than we.)
            if max(line) > 126 or min(line.replace(b"\t", b" ")) < 32:
                raise _bad()
            if first:
                _header(line, headers)
            else:
                first = _request_line(line.decode())
        data = data[at:]
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
            left = int(length) - len(data)
            while left > 0:
                left -= len(await _more(reader))
            length = headers["Content-Length"] = "0"
        body = bytearray(int(length))
        data = data[: len(body)]
        have = 0
        while True:
            body[have : have + len(data)] = data
            have += len(data)
            if have == len(body):
                break
            data = (await _more(reader))[: len(body) - have]
        from microdot import Request  # noqa: PLC0415 (there while somebody asks)

        # A form must be bytes: Microdot takes it apart.
        whole = bytes(body) if room == self.max_body else body
        return Request(None, None, first[0], first[1], "1.0", headers, body=whole)


class _Connection:
    """Collects small writes in the buffer that all share in turn: each of its own would be a
    packet, and would wait a mains cycle for its turn."""

    def __init__(self, task, time, writer, buffer):
        self.task = task
        self.began = time.ticks_ms()
        self.asked = False
        self.moved = None  # when its answer last got on, from the end of its request
        self._time = time
        self._writer = writer
        self._buffer = memoryview(buffer)
        self._used = 0

    def put(self, data):
        """Copies what there is room for; returns how many bytes there was none for."""
        room = len(self._buffer) - self._used
        over = len(data) - room
        if over > 0:
            data = memoryview(data)[:room]
        end = self._used + len(data)
        self._buffer[self._used : end] = data
        self._used = end
        return over if over > 0 else 0

    async def flush(self):
        self._writer.write(self._buffer[: self._used])
        self._used = 0
        await self._writer.drain()
        self.moved = self._time.ticks_ms()


async def _send(out, answer):
    """Sends a Response whose body is bytes or an iterator of str or bytes."""
    answer.headers.setdefault("Content-Type", "text/plain")
    # The head is ours, and short.
    out.put(("HTTP/1.0 %d %s\r\n" % (answer.status_code, answer.reason)).encode())
    for header in answer.headers.items():
        out.put(("%s: %s\r\n" % header).encode())
    out.put(b"\r\n")
    if not answer.is_head:
        body = answer.body
        for part in (body,) if isinstance(body, bytes) else body:
            if isinstance(part, str):
                part = part.encode()  # noqa: PLW2901
            left = out.put(part)
            while left:
                await out.flush()
                left = out.put(memoryview(part)[-left:])
    await out.flush()


async def _more(reader):
    data = await reader.read(_PIECE)
    if not data:
        raise OSError("closed in the middle of a request")
    return data


def _bad():
    return Refused(400, "Bad Request")


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
    colon = line.find(b":")
    name = line[: max(colon, 0)].lower()
    if not name or name.strip() != name:
        raise _bad()
    if name == b"transfer-encoding":
        raise Refused(501, "Not Implemented")
    if _KEPT.find(b" %s " % name) >= 0:
        # Microdot looks for Content-Length, not content-length.
        name = "-".join([part[0].upper() + part[1:] for part in name.decode().split("-")])
        if name in headers and name in ("Host", "Content-Length"):
            raise _bad()
        headers[name] = line[colon + 1 :].decode().strip()


def _plain(target):
    """The target; without its query if that holds more than names and values of ours.

    Probes of phones carry all kinds of queries, and Microdot's decoder raises on some.
    """
    path, _, query = target.partition("?")
    for letter in query:
        if not (letter.isalpha() or letter.isdigit() or letter in "=&_-"):
            return path
    return target
