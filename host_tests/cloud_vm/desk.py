"""Runs in the MicroPython VM: gives the firmware the board's kind of socket on a desktop.

Addresses are (ip, port) tuples as on the ESP32; names come from `hosts`. Everything else is
the VM's own socket, so that time-outs, resets and short reads are real ones.
"""

import socket as _socket

hosts = {}  # name -> list of ip; a name that is missing cannot be looked up
redirect = {}  # ip -> ip on this machine


class socket:
    def __init__(self, *args):
        self.inner = _socket.socket(*args)

    def connect(self, address):
        ip, port = address
        self.inner.connect(_socket.getaddrinfo(redirect.get(ip, ip), port)[0][-1])

    def settimeout(self, seconds):
        self.inner.settimeout(seconds)

    def write(self, data):
        return self.inner.write(data)

    def readinto(self, into):
        return self.inner.readinto(into)

    def close(self):
        self.inner.close()


def getaddrinfo(host, port):
    if host[0].isdigit():
        found = [host]
    elif host in hosts:
        found = hosts[host]
    else:
        raise OSError(-2)
    return [(2, 1, 0, host, (ip, port)) for ip in found]


class tls:
    """The VM's ssl, which wants its own sockets."""

    def __getattr__(self, name):
        import ssl

        return getattr(ssl, name)

    def SSLContext(self, protocol):
        import ssl

        return _Context(ssl.SSLContext(protocol))


class _Context:
    def __init__(self, inner):
        self.inner = inner
        self.load_verify_locations = inner.load_verify_locations

    @property
    def verify_mode(self):
        return self.inner.verify_mode

    @verify_mode.setter
    def verify_mode(self, mode):
        self.inner.verify_mode = mode

    def wrap_socket(self, sock, **options):
        return self.inner.wrap_socket(sock.inner, **options)
