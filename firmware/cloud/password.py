"""The password a broker gets: it proves that the device knows its PIN and does not tell it."""

import hashlib
from binascii import hexlify

from micropython import const

_BLOCK = const(64)  # bytes of a SHA-256 block


def mqtt_password(pin, serial):
    """HMAC-SHA256 (RFC 2104) of "mqtt:<serial>" under the PIN, in hex."""
    key = pin.encode() + bytes(_BLOCK - len(pin))
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key))
    inner.update(("mqtt:" + serial).encode())
    outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in key))
    outer.update(inner.digest())
    return hexlify(outer.digest()).decode()
