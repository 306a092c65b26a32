"""From the name of a broker to a broker that has said yes: DNS, TCP, TLS, CONNECT, CONNACK.

In: a SafeClient that knows whom to call. Out: the client connected, or a Fault that tells every
reason apart. Loaded for an attempt and let go of once a connection stands.
"""

import errno

from micropython import const

from cloud import faults
from cloud.faults import Fault
from cloud.wire import Wire

_CONNECT_MS = const(2500)  # per address: two SYNs
_CONNACK_MS = const(8000)  # TLS handshake and CONNECT; a slow chip needs 2 s for the handshake
_POLL_MS = const(5)

_REFUSALS = {
    1: (faults.REJECTED, "the broker speaks another version of MQTT"),
    2: (faults.REJECTED, "the broker rejects the client id"),
    3: (faults.CLOSED, "the broker is not available at the moment"),
    4: (faults.REJECTED, "the broker rejects the serial or the PIN"),
    5: (faults.REJECTED, "the broker has not authorised this device"),
}


def tls_context(ssl, ca_der):
    """A context that trusts `ca_der` (DER) alone. MicroPython's own default verifies nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(cadata=ca_der)
    except (OSError, ValueError):
        raise Fault(faults.TLS, "the provider's CA certificate is not a DER certificate")
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
        raise Fault(faults.DNS, "the name %s could not be looked up" % host)
    addresses = []
    for entry in found:
        address = entry[-1]
        if address is not None and address not in addresses:
            addresses.append(address)
    fault = Fault(faults.DNS, "the name %s has no address" % host)
    for address in addresses:
        alive()
        if context is None and not is_private(address[0]):
            fault = Fault(
                faults.POLICY,
                "%s (%s) is on the internet: plain text is refused" % (host, address[0]),
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
    except (OSError, ValueError) as error:
        raw.close()
        raise Fault(faults.TLS, "TLS failed: %s" % error)
    except (Fault, MemoryError):
        raw.close()
        raise


def _connect_fault(error, address):
    where = "%s:%d" % (address[0], address[1])
    if error.errno in (errno.ETIMEDOUT, errno.EINPROGRESS, errno.EAGAIN):
        return Fault(faults.SILENT, where + " does not answer")
    if error.errno in (errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED):
        return Fault(faults.REFUSED, where + " refuses connections")
    if error.errno == errno.EHOSTUNREACH:
        return Fault(faults.SILENT, where + " cannot be reached")
    return Fault(faults.SILENT, "%s cannot be reached (error %s)" % (where, error.errno))


def introduce(client, clean_session, time):
    """CONNECT over the client's new Wire, then CONNACK. Raises Fault unless it is a yes."""
    started = time.ticks_ms()
    _write_connect(client, clean_session)
    client.sock.flush(_CONNACK_MS)
    client.heard()
    while client.connack is None:
        if time.ticks_diff(time.ticks_ms(), started) > _CONNACK_MS:
            raise Fault(faults.SILENT, "the broker accepts connections but says nothing")
        client.take_in()
        if client.connack is None:
            client.alive()
            time.sleep_ms(_POLL_MS)
    code = client.connack >> 8
    if code:
        kind, words = _REFUSALS.get(
            code, (faults.MALFORMED, "the broker refuses with the unknown code %d" % code)
        )
        raise Fault(kind, words)


def _write_connect(client, clean_session):
    flags = 2 if clean_session else 0
    parts = [client.client_id]
    if client.lw_topic:
        flags |= 4 | client.lw_qos << 3 | (32 if client.lw_retain else 0)
        parts += [client.lw_topic, client.lw_msg]
    if client.user:
        flags |= 0xC0
        parts += [client.user, client.pswd]
    size = 10
    for part in parts:
        size += 2 + len(part)
    client.write_header(0x10, size)
    client.sock.write(b"\x00\x04MQTT\x04")
    client.sock.write(bytes((flags, client.keepalive >> 8, client.keepalive & 255)))
    for part in parts:
        client._send_str(part)
