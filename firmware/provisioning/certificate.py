"""An uploaded CA certificate: taken out of its form, checked, laid aside for the next trial.

In: the body of a request. Out: a file, or ValueError with the key of the words that say what is
wrong. Loaded for one upload.
"""

import os
from binascii import a2b_base64

from cloud.dialing import tls_context
from cloud.faults import Fault

_BEGIN = b"-----BEGIN CERTIFICATE-----"
_END = b"-----END CERTIFICATE-----"


def keep(body, ssl, path):
    """Lays it at `path`. OSError: the flash is full."""
    der = uploaded(body)
    if hasattr(ssl, "SSLContext"):
        try:
            tls_context(ssl, der)
        except Fault:
            raise ValueError("err_certificate")
    part = path + ".part"
    with open(part, "wb") as file:
        file.write(der)
    os.rename(part, path)


def uploaded(body):
    """The certificate (DER) in a multipart body that holds one file, as DER or as PEM."""
    if not body:  # too large to be taken
        raise ValueError("err_certificate")
    mark = body[: body.find(b"\r\n")]
    start = body.find(b"\r\n\r\n") + 4
    end = body.rfind(b"\r\n" + mark)
    if not mark.startswith(b"--") or start < 4 or end < start:
        raise ValueError("err_unreadable_form")
    if end == start:
        raise ValueError("err_ca_none")
    der = body[start:end]
    begin = der.find(_BEGIN)
    if begin >= 0:  # of several the first
        end = der.find(_END, begin)
        if end < 0:
            raise ValueError("err_certificate")
        try:
            der = a2b_base64(b"".join(bytes(der[begin + len(_BEGIN) : end]).split()))
        except ValueError:
            raise ValueError("err_certificate")
    if not whole(der):
        raise ValueError("err_certificate")
    return bytes(der)  # what ssl takes


def whole(der):
    """Is this one X.509 certificate to its last byte? A SEQUENCE of a SEQUENCE (what is signed),
    a SEQUENCE (the algorithm) and a BIT STRING (the signature): RFC 5280 section 4.1."""
    at, end = _inside(der, 0, 0x30)
    if end != len(der):
        return False
    for tag in (0x30, 0x30, 0x03):
        _, at = _inside(der, at, tag)
    return at == end


def _inside(der, at, tag):
    """(start, end) of the content of the DER element at `at`; (0, -1) if it is no such element."""
    if at < 0 or at + 2 > len(der) or der[at] != tag:
        return 0, -1
    size = der[at + 1]
    at += 2
    if size & 0x80:
        many = size & 0x7F
        if not 1 <= many <= 2 or at + many > len(der):
            return 0, -1
        size = 0
        for byte in der[at : at + many]:
            size = size << 8 | byte
        at += many
    return at, at + size
