"""What the command `update` asks for. Loaded for a moment, before the update's own code.

In: the command's arguments. Out: (True for TLS, host, port, path, whether a downgrade is wanted),
or a ValueError in words.
"""

import json

from micropython import const

from cloud import update_key

_URL = const(400)  # characters


def read(arguments):
    url = None
    downgrade = False
    for argument, value in arguments.items():
        if argument == "url" and type(value) is str:
            url = value
        elif argument == "downgrade" and type(value) is bool:
            downgrade = value
        elif argument in ("url", "downgrade"):
            expected = "a text" if argument == "url" else "true or false"
            raise ValueError(
                "%s is %s, expected %s" % (argument, json.dumps(value)[:40], expected)
            )
        else:
            raise ValueError("update takes no %s" % argument[:40])
    if url is None:
        raise ValueError("url is missing, expected http://host/path or https://host/path")
    where = parse(url)
    missing = update_key.fault()
    if missing:
        raise ValueError(missing)
    return where + (downgrade,)


def parse(url):
    """(True for TLS, host, port, path), or ValueError."""
    scheme, _, rest = url.partition("://")
    host, _, path = rest.partition("/")
    host, _, port = host.partition(":")
    tls = scheme == "https"
    if not port:
        port = "443" if tls else "80"
    good = scheme in ("http", "https") and host and port.isdigit() and 0 < int(port) < 65536
    if not good or len(url) > _URL or "@" in host or not all("!" <= c <= "~" for c in url):
        raise ValueError(
            "url is %s, expected http://host/path or https://host/path, 400 characters at most"
            % url[:64]
        )
    return tls, host, int(port), "/" + path.partition("#")[0]
