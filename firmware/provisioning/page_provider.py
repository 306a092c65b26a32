"""Where the measurements go: the provider's broker, and the CA certificate it is known by.

Nothing is saved that could not work: names and numbers are checked, TLS needs a certificate on
board, and plain text is only for an address that no router forwards to the internet.
"""

import os
from binascii import a2b_base64

from cloud.wire import Fault, is_private, tls_context
from provisioning import rendering
from provisioning.routes import answer as reply
from provisioning.routes import from_own_page

_BEGIN = b"-----BEGIN CERTIFICATE-----"
_END = b"-----END CERTIFICATE-----"


def answer(site, request, name):
    if request.method != "POST":
        return _page(site, request)
    if not from_own_page(request):
        return _page(site, request, 403, "err_origin")
    try:
        if name == "ca":
            _save_certificate(site, uploaded(request.body))
            return reply("", 303, {"Location": "/provider?done=ca"})
        _save_provider(site, request.form or {})
    except ValueError as fault:
        words = str(fault)
        return _page(site, request, 400, words if words.startswith("err_") else "err_form")
    except OSError:
        return _page(site, request, 400, "err_not_saved")
    return reply("", 303, {"Location": "/status"})


def _save_provider(site, fields):
    """ValueError holds the key of the words that say what is wrong."""
    host = fields.get("host", "").strip()
    port = fields.get("port", "").strip()
    tls = fields.get("tls", "") == "yes"
    if not 1 <= len(host) <= 253:
        raise ValueError("err_host")
    for letter in host:
        if not (letter.isalpha() or letter.isdigit() or letter in "-._") or letter > "~":
            raise ValueError("err_host")
    if not port.isdigit() or not 1 <= int(port[:6]) <= 65535:
        raise ValueError("err_port")
    if tls:
        if not _exists(site.ca_path):
            raise ValueError("err_no_ca")
    elif not is_private(host):
        raise ValueError("err_public")
    elif fields.get("plain", "") != "yes":
        raise ValueError("err_plain")
    provider = dict(site.settings.provider or {})
    provider.update({"host": host, "port": int(port[:6]), "tls": tls})
    site.settings.update(provider=provider)


def uploaded(body):
    """The certificate (DER) in a multipart body that holds one file, as DER or as PEM."""
    if not body:  # too large to be taken
        raise ValueError("err_ca")
    mark = body[: body.find(b"\r\n")]
    start = body.find(b"\r\n\r\n") + 4
    end = body.rfind(b"\r\n" + mark)
    if not mark.startswith(b"--") or start < 4 or end < start:
        raise ValueError("err_form")
    if end == start:
        raise ValueError("err_ca_none")
    der = body[start:end]
    begin = der.find(_BEGIN)
    if begin >= 0:  # of several the first
        end = der.find(_END, begin)
        if end < 0:
            raise ValueError("err_ca")
        try:
            der = a2b_base64(b"".join(bytes(der[begin + len(_BEGIN) : end]).split()))
        except ValueError:
            raise ValueError("err_ca")
    if not whole(der):
        raise ValueError("err_ca")
    return der


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


def _save_certificate(site, der):
    if hasattr(site.ssl, "SSLContext"):
        try:
            tls_context(site.ssl, der)
        except Fault:
            raise ValueError("err_ca")
    new = site.ca_path + ".new"
    with open(new, "wb") as file:
        file.write(der)
    os.rename(new, site.ca_path)


def _page(site, request, status=200, fault=None):
    words = site.words(request)
    provider = site.settings.provider or {"host": "", "port": 8883, "tls": True}
    notes = ""
    if fault:
        notes = rendering.note("bad", words[fault], "")
    elif request.args.get("done") == "ca":
        notes = rendering.note("good", words["ca_saved"], "")
    values = {
        "notes": notes,
        "host": rendering.escape(provider["host"]),
        "port": str(provider["port"]),
        "tls": " checked" if provider["tls"] else "",
        "has_ca": words["ca_there" if _exists(site.ca_path) else "ca_missing"],
    }
    return site.page(request, "provider", words, values, status, here="details")


def _exists(path):
    try:
        os.stat(path)
    except OSError:
        return False
    return True
