"""One TCP or TLS connection on which nothing waits longer than it is allowed to.

In: host, port, and for TLS a context that verifies. Out: a Wire: writes are gathered and sent
as one segment, reads never block. The socket is switched to non-blocking for good, because a
time-out on MicroPython starts anew with every byte: a peer that sends one byte a second, in the
middle of a TLS handshake too, would hold us for minutes.
"""

import errno

from micropython import const

_CONNECT_MS = const(2500)  # per address: two SYNs
_WRITE_MS = const(5000)  # the peer's window has to open in this time
_POLL_MS = const(5)
_GATHER = const(512)  # bytes that leave in one segment: a measurement is shorter

# Where a connection failed; the uplink chooses its patience by it.
DNS = "dns"
REFUSED = "refused"  # the host answers, the port does not
SILENT = "silent"  # nothing came back in time
CLOSED = "closed"  # the peer ended it
TLS = "tls"  # the peer is not who it should be
MALFORMED = "malformed"  # the peer does not speak MQTT
REJECTED = "rejected"  # the broker does not want this device
POLICY = "policy"  # we do not want this connection


class Fault(Exception):
    """This connection is of no use any more. `kind` is one of the above, str() says why."""

    def __init__(self, kind, words):
        super().__init__(words)
        self.kind = kind


def tls_context(ssl, ca_der):
    """A context that trusts `ca_der` (DER) alone. MicroPython's own default verifies nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(cadata=ca_der)
    except (OSError, ValueError):
        raise Fault(TLS, "the provider's CA certificate is not a DER certificate")
    return context


def is_private(ip):
    """True for IPv4 addresses that no router forwards to the internet (RFC 1918, 3927, 1122)."""
    try:
        a, b, c, d = [int(part) for part in ip.split(".")]
    except ValueError:
        return False
    if min(a, b, c, d) < 0 or max(a, b, c, d) > 255:
        return False
    return (
        a in (10, 127)
        or (a == 192 and b == 168)
        or (a == 172 and 16 <= b <= 31)
        or (a == 169 and b == 254)
    )


def dial(host, port, context, *, socket, time, alive):
    """A Wire to the first address of `host` that answers. `context` None = plain text, which
    only private addresses get. DNS is asked anew each time. `alive()` is called while waiting.
    """
    try:
        found = socket.getaddrinfo(host, port)
    except OSError:
        raise Fault(DNS, "the name %s could not be looked up" % host)
    addresses = []
    for entry in found:
        address = entry[-1]
        if address is not None and address not in addresses:
            addresses.append(address)
    fault = Fault(DNS, "the name %s has no address" % host)
    for address in addresses:
        alive()
        if context is None and not is_private(address[0]):
            fault = Fault(
                POLICY, "%s (%s) is on the internet: plain text is refused" % (host, address[0])
            )
            continue
        try:
            return _open(host, address, context, socket=socket, time=time, alive=alive)
        except Fault as failed:
            fault = failed
    raise fault


def _open(host, address, context, *, socket, time, alive):
    raw = socket.socket()
    try:
        raw.settimeout(_CONNECT_MS / 1000)
        try:
            raw.connect(address)
        except OSError as error:
            raise _connect_fault(error, address)
        raw.settimeout(0)
        stream = raw
        if context is not None:
            # The handshake goes on with the first writes, within their deadline.
            stream = context.wrap_socket(raw, server_hostname=host, do_handshake_on_connect=False)
        return Wire(stream, raw, time, alive)
    except (Fault, OSError, ValueError) as error:
        raw.close()
        raise error if isinstance(error, Fault) else Fault(TLS, "TLS failed: %s" % error)


def _connect_fault(error, address):
    where = "%s:%d" % (address[0], address[1])
    if error.errno in (errno.ETIMEDOUT, errno.EINPROGRESS, errno.EAGAIN):
        return Fault(SILENT, where + " does not answer")
    if error.errno in (errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED):
        return Fault(REFUSED, where + " refuses connections")
    if error.errno == errno.EHOSTUNREACH:
        return Fault(SILENT, where + " cannot be reached")
    return Fault(SILENT, "%s cannot be reached (error %s)" % (where, error.errno))


class Wire:
    def __init__(self, stream, raw, time, alive):
        self._stream = stream
        self._raw = raw
        self._time = time
        self._alive = alive
        self._gathered = bytearray(_GATHER)
        self._view = memoryview(self._gathered)
        self._size = 0

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
            step = min(size - start, _GATHER - self._size)
            self._gathered[self._size : self._size + step] = data[start : start + step]
            self._size += step
            start += step

    def flush(self, limit_ms=_WRITE_MS):
        """Sends what was gathered, or raises Fault after `limit_ms`."""
        sent = 0
        size = self._size
        self._size = 0
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
