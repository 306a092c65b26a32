"""What a phone meets in safe mode: every name leads to one page with the crash, the log and the
ways out. Each request is answered in one go, between two looks at the meter.

In: connections and DNS queries on the access point. Out: their answers; `over` once the device is
to restart, `visited_ms` of the last connection. The limits are those of the portal's server
(provisioning/web.py), which may be what crashed and is therefore not used.
"""

# ruff: noqa: PLC0415 (what is not needed must not fail)

import gc
from errno import ETIMEDOUT

from micropython import const

_PIECE = const(512)  # bytes read at a time
_DNS_BYTES = const(512)
_PAGE = (
    "<!doctype html><html lang=en><meta charset=utf-8>"
    "<meta name=viewport content='width=device-width'>"
    "<title>Amp Guard</title><style>body{font:16px sans-serif;margin:1em;max-width:40em}"
    "button{font:inherit;padding:.7em;margin:.3em 0}pre{white-space:pre-wrap;background:#eee;"
    "padding:.5em}</style><h1>Amp Guard %s: safe mode"
    "</h1><p>The device crashed three times within ten minutes. It tries again by itself in %d "
    "minutes.<p>%s<form method=post action=/retry><button>Try again now</button></form>%s"
    "<p><label>Another firmware: <input type=file onchange=\"fetch('/update',{method:'POST',"
    'body:this.files[0]}).then(a=>a.text()).then(alert)"></label><h2>The crash</h2><pre>'
)


class Page:
    #: Bytes of the request line and all headers together.
    max_head = 4096

    #: Bytes of another firmware; two of them share a flash of 2 MB.
    max_update = 1_048_576

    #: Without a byte under way.
    seconds_per_packet = 3

    #: From the connection to the answer's last byte, and that of another firmware. Nothing is
    #: measured meanwhile.
    seconds_per_request = 10
    seconds_per_update = 300

    def __init__(self, mode, address, *, identity, boots, log, feed, socket, time):
        """`mode` has live(), left_ms() and stop_measuring(why); feed() is for the watchdog.
        OSError if the address is not there."""
        self.over = False
        self.visited_ms = time.ticks_ms()
        self._mode = mode
        self._address = address
        self._identity = identity
        self._boots = boots
        self._log = log
        self._feed = feed
        self._time = time
        self._web = _listening(socket, socket.SOCK_STREAM, address, 80)
        self._web.listen(2)
        self._dns = None
        try:
            self._dns = _listening(socket, socket.SOCK_DGRAM, address, 53)
        except OSError as fault:
            log.error("link", "%r" % fault)

    def answer_names(self):
        """Answers one DNS query, if there is one."""
        if not self._dns:
            return
        try:
            packet, peer = self._dns.recvfrom(_DNS_BYTES)
        except OSError:
            return
        try:
            from provisioning import dns

            reply = dns.answer(packet, dns.packed(self._address))
            if reply:
                self._dns.sendto(reply, peer)
        except Exception as fault:
            self._log.error("link", "%r" % fault)
            self._dns = None

    def answer(self):
        """Answers one request, if there is one."""
        try:
            client, _ = self._web.accept()
        except OSError:
            return
        self.visited_ms = self._time.ticks_ms()
        try:
            self._converse(_Connection(client, self._time, self._feed))
        except Exception as fault:  # the page is the way out: it must not end
            self._log.info("link", "page: %r" % fault)
        finally:
            client.close()
            gc.collect()

    def _converse(self, client):
        head, whole, body = client.receive_head()
        if not whole:
            if len(head) >= self.max_head:
                _send_head(client, "text/plain", "431 Too Long")
            return
        asked = head.split(b" ", 2)[:2]
        own = _host(head, self._address)
        if asked[0] == b"POST" and not (own and from_page_of(own, head)):
            _send_head(client, "text/plain", "403 Forbidden")
        elif asked == [b"GET", b"/"] and own:
            self._send_page(client)
        elif asked == [b"GET", b"/log"] and own:
            _send_head(client, "text/plain; charset=utf-8")
            self._send_log(client)
        elif asked == [b"POST", b"/retry"]:
            _send_head(client, "text/plain")
            client.send(b"The device restarts.")
            self.over = True
        elif asked == [b"POST", b"/back"] and _other_version():
            _send_head(client, "text/plain")
            from device import slots

            slots.try_out(slots.other(slots.running()))
            client.send(b"The device restarts with the other firmware.")
            self.over = True
        elif asked == [b"POST", b"/update"]:
            self._update(client, _header(head, b"content-length"), body)
        else:
            client.send(
                b"HTTP/1.0 302 Found\r\nLocation: http://%s/\r\n\r\n" % self._address.encode()
            )

    def _send_page(self, client):
        _send_head(client, "text/html; charset=utf-8")
        minutes = self._mode.left_ms() // 60_000
        live = _escaped(self._mode.live())
        words = _PAGE % (self._identity.digits, minutes, live, _back())
        client.send(words.encode())
        client.send(_escaped(self._boots.last_crash() or "No traceback was kept.").encode())
        client.send(b"</pre><h2>The log</h2><p><a href=/log>All of it</a><pre>")
        from device import log_lines

        for line in log_lines.last(self._log, 1500):
            client.send((_escaped(line) + "\n").encode())
        client.send(b"</pre>")

    def _send_log(self, client):
        from device import log_lines

        for piece in log_lines.pieces(self._log):
            client.send(piece)

    def _update(self, client, length, first):
        """The body is a bundle (tools/bundle.py)."""
        if not length.isdigit() or len(length) > 7 or int(length) > self.max_update:
            _send_head(client, "text/plain", "413 Payload Too Large")
            return
        self._mode.stop_measuring("a firmware came.")
        client.limit_s = self.seconds_per_update
        from device import safe_update

        body = safe_update.Body(client, first, int(length))
        try:
            safe_update.install(body, self._identity.variant, self._log, self._feed)
            self.over = True
            words = "It is there. The device restarts and tries it."
        except Exception as fault:
            self._log.error("update", "%r" % fault)
            words = "Refused: %s" % (str(fault) or repr(fault))
        body.pass_over()
        _send_head(client, "text/plain")
        client.send(words.encode())


class _Connection:
    """A client's socket with a deadline for the whole request: OSError(ETIMEDOUT)."""

    def __init__(self, client, time, feed):
        self.limit_s = Page.seconds_per_request
        self._client = client
        self._time = time
        self._feed = feed
        self._began = time.ticks_ms()

    def receive_head(self):
        """Returns what comes before the empty line, whether that came, and what followed it."""
        data = b""
        while b"\r\n\r\n" not in data and len(data) < Page.max_head:
            piece = self.receive()
            if not piece:
                break
            data += piece
        head, end, rest = data.partition(b"\r\n\r\n")
        return head, bool(end), rest

    def receive(self):
        """What came next; b"" once the client has ended."""
        self._hurry()
        return self._client.recv(_PIECE)  # readinto() would go on until its buffer is full

    def send(self, data):
        self._hurry()
        self._client.sendall(data)

    def _hurry(self):
        self._feed()
        passed_ms = self._time.ticks_diff(self._time.ticks_ms(), self._began)
        left_ms = self.limit_s * 1000 - passed_ms
        if left_ms <= 0:
            raise OSError(ETIMEDOUT)
        self._client.settimeout(min(left_ms / 1000, Page.seconds_per_packet))


def from_page_of(own, head):
    """May this post change something? Only from a page of the host `own`, or from a client that
    names none at all: as provisioning/routes.py has it."""
    own = b"http://" + own
    origin = _header(head, b"origin")
    referer = _header(head, b"referer")
    if origin:
        return origin == own
    return not referer or referer.startswith(own + b"/")


def _host(head, address):
    """What the client calls this device, None if that is somebody else's name."""
    host = _header(head, b"host") or address.encode()
    name, colon, port = host.partition(b":")
    # A simulated board's page stands on a port of the loopback interface.
    known = name in (address.encode(), b"127.0.0.1", b"localhost")
    return host if known and (not colon or port.isdigit()) else None


def _header(head, name):
    """The value of the first header `name` (lower case), b"" where there is none."""
    for line in head.split(b"\r\n")[1:]:
        found, _, value = line.partition(b":")
        if found.lower() == name:
            return value.strip()
    return b""


def _send_head(client, kind, status="200 OK"):
    client.send(
        (
            "HTTP/1.0 %s\r\nContent-Type: %s\r\nCache-Control: no-store\r\n\r\n" % (status, kind)
        ).encode()
    )


def _listening(socket, kind, address, port):
    made = socket.socket(socket.AF_INET, kind)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((address, port))
    made.setblocking(False)
    return made


def _other_version():
    """Of the firmware in the other slot, None if there is none."""
    try:
        from device import slots

        return slots.version(slots.other(slots.running()))
    except Exception:  # what is wrong with the slots is no reason to show no page
        return None


def _back():
    version = _other_version()
    if not version:
        return ""
    return "<form method=post action=/back><button>Run %s instead</button></form>" % version


def _escaped(text):
    return text.replace("&", "&amp;").replace("<", "&lt;")
