# The ESP32 image's `socket` (ports/esp32/modsocket.c over lwIP) on the host's sockets. Addresses
# are (ip, port); what gets through depends on the links and the air (_net). 192.168.251.1:80 and
# :53 of the access point appear on ports of 127.0.0.1 that the configuration names.
#
# Stricter than lwIP in one thing: binding to an address the board does not have fails.
import errno as _errno
import io as _io
import struct as _struct

import _clock
import _net
import uselect as _uselect
import usocket as _usocket
import utime as _utime
from _board import config as _config
from _board import emit as _emit
from micropython import const as _const

AF_INET = 2
AF_INET6 = 10
SOCK_STREAM = 1
SOCK_DGRAM = 2
SOCK_RAW = 3
IPPROTO_IP = 0
IPPROTO_TCP = 6
IPPROTO_UDP = 17
SOL_SOCKET = 4095
SO_REUSEADDR = 4
SO_BROADCAST = 32
SO_BINDTODEVICE = 4107
IP_ADD_MEMBERSHIP = 3
TCP_NODELAY = 1
MSG_PEEK = 1
MSG_DONTWAIT = 8

_ENFILE = _const(23)
_EADDRNOTAVAIL = _const(125)
_EISCONN = _const(106)  # of the host
_NO_NAME = _const(-202)
_MAX_SOCKETS = _const(16)  # of lwIP as the image is built
_SEND_BUFFER = _const(5744)
_PIECE_MS = _const(20)
_DNS_MS = _const(5000)
_SYN_MS = _const(75000)
# What lwIP and the driver take of the main thread, us: orders of magnitude, see docs/simulator.md.
_CALL_US = _const(100)
_BYTES_PER_US = _const(10)
_HOST_IP = _config.get("host_ip", "127.0.0.1")

_RD = _const(1)
_WR = _const(4)
_HUP = _const(16)
_NVAL = _const(32)

# States of a socket
_NEW = _const(0)
_CONNECTING = _const(1)
_OPEN = _const(2)
_LISTENING = _const(3)
_ENDED = _const(4)  # by the peer
_DEAD = _const(5)  # by us, after an error that was told
_CLOSED = _const(6)

_count = 0
_on_ap = []  # sockets that live on the access point's address
_limbo = []  # closed by the firmware, but nobody beyond the break has heard of it
_buffers = [bytearray(_SEND_BUFFER), bytearray(_SEND_BUFFER)]


def _is_ip(host):
    parts = host.split(".")
    return len(parts) == 4 and all(p.isdigit() and int(p) < 256 for p in parts)


def _resolve(host):
    if host == "":
        return "0.0.0.0"
    if _is_ip(host):
        return host
    waited = 0
    while True:
        link = _net.uplink()
        if not link or link[0] == "ap":
            raise OSError(_NO_NAME)  # no name server known
        _clock.nap(_PIECE_MS)
        if _net.dns_answers():
            break
        waited += _PIECE_MS
        if waited >= _DNS_MS:
            raise OSError(_NO_NAME)
    for words in _net.world("host", host):
        return words[0]
    raise OSError(_NO_NAME)


def getaddrinfo(_host, _port, *hints):
    if len(hints) > 4:
        raise TypeError("function expected at most 6 arguments, got %d" % (2 + len(hints)))
    if not isinstance(_host, str):
        raise TypeError("can't convert to str implicitly")
    type = hints[1] if len(hints) > 1 else 0
    proto = hints[2] if len(hints) > 2 else 0
    return [(AF_INET, type or SOCK_STREAM, proto, _host, (_resolve(_host), int(_port)))]


def _parse(address):
    if not isinstance(address, (tuple, list)):
        raise TypeError("object isn't a tuple or list")
    if len(address) != 2:
        raise ValueError("requested length 2 but object has length %d" % len(address))
    return _resolve(address[0]), int(address[1])


def _host_address(ip, port):
    return _usocket.getaddrinfo(ip, port)[0][-1]


def _phone_address(raw):
    # The installer's phones are the hosts 127.0.0.x; the DHCP server counts from .2
    if _HOST_IP != "127.0.0.1":
        return ("%d.%d.%d.%d" % tuple(raw[4:8]), _struct.unpack_from(">H", raw, 2)[0])
    start = _net.ap_ip.rsplit(".", 1)[0]
    return ("%s.%d" % (start, raw[7] + 1), _struct.unpack_from(">H", raw, 2)[0])


class socket(_io.IOBase):
    def __init__(self, *args):
        global _count
        if len(args) > 3:
            raise TypeError("function expected at most 3 arguments, got %d" % len(args))
        family = args[0] if args else AF_INET
        self._type = args[1] if len(args) > 1 else SOCK_STREAM
        if family not in (AF_INET, AF_INET6) or self._type not in (1, 2, 3):
            raise OSError(_errno.EINVAL)
        self._inner = None
        self._poll = None
        self._timeout = -1  # ms; 0 = never wait, -1 = for ever
        self._state = _NEW if self._type == SOCK_STREAM else _OPEN
        self._link = None
        self._epoch = 0
        self._address = None
        self._buffer = None
        self._pending = 0
        self._error = 0
        self._nowhere = False
        if _count >= _MAX_SOCKETS:
            self._state = _CLOSED
            raise OSError(_ENFILE)
        _count += 1

    # --- what became of the link -------------------------------------------------------------

    def _take(self, inner):
        inner.setblocking(False)
        self._inner = inner
        self._poll = _uselect.poll()
        self._poll.register(inner, _RD)

    def _check(self):
        # Raises once what happened to the connection; True while packets get through.
        if self._state == _CLOSED:
            raise OSError(_errno.EBADF)
        if self._state in (_NEW, _DEAD):
            raise OSError(_errno.ENOTCONN)
        if self._type != SOCK_STREAM or self._state == _ENDED:
            return True
        if self._error:
            error, self._error = self._error, 0
            self._state = _DEAD
            raise OSError(error)
        if _net.epoch(self._link) != self._epoch:
            self._die(_errno.ECONNABORTED)
        if self._link == "ap":
            return True
        internet = _net.internet()
        if internet == _net.REFUSED:
            self._die(_errno.ECONNRESET)
        if internet == _net.BLACKHOLE:
            return False
        if self._pending:
            self._flush()
        return not self._pending

    def _die(self, error):
        self._state = _DEAD
        self._release()
        raise OSError(error)

    def _release(self):
        inner, self._inner, self._poll = self._inner, None, None
        if self._buffer is not None:
            _buffers.append(self._buffer)
            self._buffer = None
            self._pending = 0
        if self in _on_ap:
            _on_ap.remove(self)
        if inner:
            if self._link in ("sta", "lan") and not _reachable(self._link, self._epoch):
                _limbo.append(inner)
            else:
                inner.close()

    def _flush(self):
        try:
            sent = self._inner.send(memoryview(self._buffer)[: self._pending])
        except OSError as e:
            if e.errno == _errno.EAGAIN:
                return
            self._die(_errno.ECONNRESET)
        self._buffer[: self._pending - sent] = self._buffer[sent : self._pending]
        self._pending -= sent
        if not self._pending:
            _buffers.append(self._buffer)
            self._buffer = None

    def _ready(self, events, wait):
        # Events the host has for us, waiting up to `wait` ms for one.
        self._poll.modify(self._inner, events)
        ready = next(self._poll.ipoll(0), None)
        if ready is None and wait:
            _clock.waiting()
            ready = next(self._poll.ipoll(wait), None)
            _clock.waited()
        return ready[1] if ready else 0

    def _timed_out(self, waited):
        if self._timeout == 0:
            return _errno.EAGAIN
        if self._timeout > 0 and waited >= self._timeout:
            return _errno.ETIMEDOUT
        return 0

    # --- client ------------------------------------------------------------------------------

    def connect(self, _address):
        ip, port = _parse(_address)
        if self._state == _CLOSED:
            raise OSError(_errno.EBADF)
        if self._type != SOCK_STREAM:
            self._address = (ip, port)
            return
        if self._state != _NEW:
            raise OSError(_errno.EALREADY if self._state == _CONNECTING else _EISCONN)
        link = _net.uplink()
        if not link:
            self._state = _DEAD
            raise OSError(_errno.EHOSTUNREACH)
        self._link, self._epoch = link
        self._address = (ip, port)
        self._state = _CONNECTING
        if self._timeout == 0:
            self._progress()
            raise OSError(_errno.EINPROGRESS)
        started = _utime.ticks_ms()
        limit = self._timeout if self._timeout > 0 else _SYN_MS
        while not self._progress():
            if _utime.ticks_diff(_utime.ticks_ms(), started) >= limit:
                raise OSError(_errno.ETIMEDOUT)
            _clock.nap(5)
        if self._error:
            error, self._error = self._error, 0
            self._state = _DEAD
            self._release()
            raise OSError(error)

    def _progress(self):
        # One step of the handshake; True when it is over, well or ill.
        if self._state != _CONNECTING:
            return True
        if self._link == "ap":
            return False  # nobody out there answers
        if _net.epoch(self._link) != self._epoch:
            return self._fail(_errno.ECONNABORTED)
        internet = _net.internet()
        if internet == _net.BLACKHOLE:
            return False
        if internet == _net.REFUSED:
            return self._fail(_errno.ECONNREFUSED)
        if self._nowhere:
            return False
        if not self._inner:
            ip, port = self._address
            target = None
            known = False
            for words in _net.world("route", ip):
                known = True
                if words[0] == str(port):
                    target = words
            if not target:
                self._nowhere = not known  # nobody looks again before the next attempt
                return self._fail(_errno.ECONNREFUSED) if known else False
            self._take(_usocket.socket())
            self._raw = _host_address(target[1], int(target[2]))
        try:
            self._inner.connect(self._raw)
        except OSError as e:
            if e.errno in (_errno.EINPROGRESS, _errno.EALREADY):
                return False
            if e.errno != _EISCONN:
                return self._fail(e.errno)
        self._state = _OPEN
        return True

    def _fail(self, error):
        self._error = error
        self._state = _OPEN  # the next call tells
        return True

    # --- server ------------------------------------------------------------------------------

    def bind(self, _address):
        ip, port = _parse(_address)
        if ip not in ("0.0.0.0", "127.0.0.1") and not (
            (_net.ap_active and ip == _net.ap_ip) or ip in (_net.sta_ip, _net.lan_ip)
        ):
            raise OSError(_EADDRNOTAVAIL)
        for other in _on_ap:
            if other._address[1] == port and other._type == self._type:
                raise OSError(_errno.EADDRINUSE)
        self._address = (ip, port)
        self._link = "ap"
        self._epoch = _net.ap_epoch
        _on_ap.append(self)
        if self._type != SOCK_STREAM:
            self._serve()

    def listen(self, _backlog=5):
        if not self._address:
            raise OSError(_errno.EINVAL)
        self._state = _LISTENING
        self._serve()

    def _serve(self):
        # The host's listener exists only while the access point does.
        reachable = _net.ap_active and self._address[0] in ("0.0.0.0", _net.ap_ip)
        if not reachable:
            if self._inner:
                self._inner.close()
                self._inner = self._poll = None
            return
        if self._inner:
            return
        stream = self._type == SOCK_STREAM
        port = _config.get("ports", {}).get(
            "%s %d" % ("tcp" if stream else "udp", self._address[1]), 0
        )
        inner = _usocket.socket(2, self._type)
        inner.setsockopt(_usocket.SOL_SOCKET, _usocket.SO_REUSEADDR, 1)
        inner.bind(_host_address(_HOST_IP, port))
        if stream:
            inner.listen(5)
        self._take(inner)
        _emit(ev="listen", ip=self._address[0], port=self._address[1], on=port)

    def accept(self):
        _clock.enter()
        try:
            return self._accept()
        finally:
            _clock.leave(_CALL_US)

    def _accept(self):
        if self._state != _LISTENING:
            raise OSError(_errno.EBADF if self._state == _CLOSED else _errno.EINVAL)
        waited = 0
        while True:
            wait = 0 if self._timeout == 0 else _PIECE_MS
            if self._inner:
                if self._ready(_RD, wait):
                    try:
                        inner, raw = self._inner.accept()
                    except OSError:
                        continue
                    try:
                        new = socket()
                    except OSError:
                        inner.close()
                        raise
                    new._take(inner)
                    new._state = _OPEN
                    new._link = "ap"
                    new._epoch = _net.ap_epoch
                    new._address = _phone_address(raw)
                    _on_ap.append(new)
                    return (new, new._address)
            elif wait:
                _clock.nap(wait)
            error = self._timed_out(waited)
            if error:
                raise OSError(error)
            waited += wait

    # --- data --------------------------------------------------------------------------------

    def _receive(self, buf, n):
        # Into buf, at least one byte; 0 at the end; raises _errno.EAGAIN or _errno.ETIMEDOUT.
        _clock.enter()
        got = 0
        try:
            got = self._wait_for(buf, n)
        finally:
            _clock.leave(_CALL_US + got // _BYTES_PER_US)
        return got

    def _wait_for(self, buf, n):
        waited = 0
        while True:
            if self._state == _CONNECTING:
                through = self._progress() and self._check()
            else:
                through = self._check()
            if self._state == _ENDED:
                return 0
            wait = 0 if self._timeout == 0 else _PIECE_MS
            if through and self._inner:
                if self._ready(_RD, wait):
                    got = self._inner.readinto(buf, n)
                    if got == 0:
                        self._state = _ENDED
                    if got is not None:
                        return got
            elif wait:
                _clock.nap(wait)
            error = self._timed_out(waited)
            if error:
                raise OSError(error)
            waited += wait

    def _transmit(self, buf):
        # Some of buf; 0 if nothing could be sent within the socket's patience.
        waited = 0
        while True:
            if self._state == _CONNECTING:
                through = self._progress() and self._check()
            else:
                through = self._check()
            sent = 0
            if through and self._inner:
                try:
                    sent = self._inner.send(buf)
                except OSError as e:
                    if e.errno != _errno.EAGAIN:
                        self._die(_errno.ECONNRESET if e.errno == 32 else e.errno)
            elif self._state == _OPEN and self._inner:
                sent = self._keep(buf)
            if sent or self._timed_out(waited):
                return sent
            _clock.nap(_PIECE_MS)
            waited += _PIECE_MS

    def _keep(self, buf):
        # lwIP's send buffer: what the other side has not acknowledged yet.
        if self._buffer is None:
            if not _buffers:
                return 0
            self._buffer = _buffers.pop()
            self._pending = 0
        room = min(_SEND_BUFFER - self._pending, len(buf))
        self._buffer[self._pending : self._pending + room] = buf[:room]
        self._pending += room
        return room

    def _send_all(self, buf):
        buf = memoryview(buf if not isinstance(buf, str) else buf.encode())
        sent = 0
        _clock.enter()
        try:
            while sent < len(buf):
                n = self._transmit(buf[sent:] if sent else buf)
                if not n:
                    break
                sent += n
        finally:
            _clock.leave(_CALL_US + sent // _BYTES_PER_US)
        return sent, len(buf)

    def send(self, _data):
        sent, size = self._send_all(_data)
        if size and not sent:
            raise OSError(_errno.EAGAIN if self._timeout == 0 else _errno.ETIMEDOUT)
        return sent

    def sendall(self, _data):
        sent, size = self._send_all(_data)
        if sent < size:
            raise OSError(_errno.ETIMEDOUT)

    def write(self, _data, *args):
        _data = memoryview(_data if not isinstance(_data, str) else _data.encode())
        if len(args) == 1:
            _data = _data[: args[0]]
        elif len(args) == 2:
            _data = _data[args[0] : args[0] + args[1]]
        sent, size = self._send_all(_data)
        if sent < size:
            if self._timeout:
                raise OSError(_errno.ETIMEDOUT)
            if not sent:
                return None
        return sent

    def recv(self, _n):
        if self._type != SOCK_STREAM:
            return self._receive_datagram(_n)[0]
        buf = bytearray(_n)
        got = self._receive(buf, _n)
        return bytes(memoryview(buf)[:got])

    def readinto(self, _buf, *args):
        n = min(args[0], len(_buf)) if args else len(_buf)
        try:
            return self._receive(_buf, n)
        except OSError as e:
            if e.errno == _errno.EAGAIN:
                return None
            raise

    def read(self, *args):
        # As a stream: all that was asked for, or to the end; None if nothing may be waited for.
        n = args[0] if args and args[0] is not None else -1
        parts = b""
        while n < 0 or len(parts) < n:
            buf = bytearray(256 if n < 0 else n - len(parts))
            try:
                got = self._receive(buf, len(buf))
            except OSError as e:
                if e.errno != _errno.EAGAIN:
                    raise
                return parts or None
            if not got:
                break
            parts += bytes(memoryview(buf)[:got])
        return parts

    def readline(self, *args):
        line = b""
        limit = args[0] if args else -1
        byte = bytearray(1)
        while limit < 0 or len(line) < limit:
            try:
                if not self._receive(byte, 1):
                    break
            except OSError as e:
                if e.errno != _errno.EAGAIN:
                    raise
                return line or None
            line += byte
            if byte[0] == 10:
                break
        return line

    # --- datagrams ---------------------------------------------------------------------------

    def _receive_datagram(self, size):
        waited = 0
        while True:
            if self._state == _CLOSED:
                raise OSError(_errno.EBADF)
            wait = 0 if self._timeout == 0 else _PIECE_MS
            if self._inner:
                if self._ready(_RD, wait):
                    data, raw = self._inner.recvfrom(size)
                    if self._link == "ap":
                        return data, _phone_address(raw)
                    if _net.internet() == _net.UP:
                        return data, self._address
            elif wait:
                _clock.nap(wait)
            error = self._timed_out(waited)
            if error:
                raise OSError(error)
            waited += wait

    def recvfrom(self, _n):
        if self._type == SOCK_STREAM:
            return self.recv(_n), ("0.0.0.0", 0)
        _clock.enter()
        try:
            return self._receive_datagram(_n)
        finally:
            _clock.leave(_CALL_US)

    def sendto(self, _data, _address):
        _clock.enter()
        try:
            return self._send_datagram(_data, _address)
        finally:
            _clock.leave(_CALL_US)

    def _send_datagram(self, _data, _address):
        if self._state == _CLOSED:
            raise OSError(_errno.EBADF)
        ip, port = _address
        if not _is_ip(ip):
            raise ValueError("invalid arguments")
        if self._link == "ap":
            if not self._inner:
                raise OSError(_errno.EHOSTUNREACH)
            if _HOST_IP == "127.0.0.1":
                ip = "127.0.0.%d" % max(1, int(ip.rsplit(".", 1)[1]) - 1)
            return self._inner.sendto(_data, _host_address(ip, port))
        link = _net.uplink()
        if not link:
            raise OSError(_errno.EHOSTUNREACH)
        if link[0] != "ap" and _net.internet() == _net.UP:
            for words in _net.world("route", ip, str(port)):
                if not self._inner:
                    self._take(_usocket.socket(2, 2))
                    self._address = (ip, port)
                self._inner.sendto(_data, _host_address(words[0], int(words[1])))
        return len(_data)

    # --- the rest ----------------------------------------------------------------------------

    def settimeout(self, _seconds):
        if _seconds is None:
            self._timeout = -1
        else:
            # The port counts in tenths of a second
            ms = int(_seconds * 1000)
            self._timeout = ms if ms <= 0 else max(100, ms // 100 * 100)

    def setblocking(self, _flag):
        self._timeout = -1 if _flag else 0

    def setsockopt(self, _level, _option, _value):
        if _option not in (4, 32, 4107, 1, 3, 20):
            print("Warning: lwip.setsockopt() option not implemented")

    def makefile(self, *args):
        return self

    def fileno(self):
        return -1 if self._state == _CLOSED else 54

    def close(self):
        global _count
        if self._state != _CLOSED:
            _clock.enter()
            self._state = _CLOSED
            self._release()
            _count -= 1
            _clock.leave(_CALL_US)

    def ioctl(self, request, arg):
        if request == 4:
            self.close()
            return 0
        if request != 3:
            return -_errno.EINVAL
        state = self._state
        if state == _CLOSED:
            return _NVAL
        if state == _NEW:
            return (arg & _WR) | _HUP
        if state == _LISTENING:
            return _RD if arg & _RD and self._inner and self._ready(_RD, 0) else 0
        if state == _CONNECTING and not self._progress():
            return 0
        if state in (_ENDED, _DEAD) or self._error:
            return arg & (_RD | _WR)
        if self._type != SOCK_STREAM:
            ready = arg & _WR
            if arg & _RD and self._inner and self._ready(_RD, 0):
                ready |= _RD
            return ready
        try:
            through = self._check()
        except OSError as e:
            self._error = e.errno
            self._state = _OPEN
            return arg & (_RD | _WR)
        if through:
            return self._ready(arg & (_RD | _WR), 0) & 0x1F
        return arg & _WR if self._pending < _SEND_BUFFER and _buffers else 0

    def __repr__(self):
        return "<socket>"


def _reachable(link, epoch):
    return _net.internet() != _net.BLACKHOLE and _net.epoch(link) == epoch


def _ap_changed():
    for s in list(_on_ap):
        if s._state == _OPEN and s._type == SOCK_STREAM:
            if _net.epoch("ap") != s._epoch:
                s._error = _errno.ECONNABORTED
                s._release()
        else:
            s._serve()


def _watch():
    if _limbo and _net.internet() != _net.BLACKHOLE and (_net.sta_ip or _net.lan_ip):
        while _limbo:
            _limbo.pop().close()


_net.on_ap_change = _ap_changed
_clock.watch(_watch)
