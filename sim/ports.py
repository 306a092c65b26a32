"""Free ports of 127.0.0.1 that nobody else is given meanwhile.

A port that the kernel calls free can be somebody else's before it is used. So each process draws
from a block of its own, below those that the kernel gives away.
"""

from __future__ import annotations

import fcntl
import itertools
import socket
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO

_FIRST, _SIZE, _BLOCKS = 12_000, 200, 100  # Linux gives away 32768 and more


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    """A port that nobody listens on now."""
    for port in itertools.islice(_mine()[0], _SIZE):
        with suppress(OSError):
            return _bound(port, kind)
    return _bound(0, kind)


@cache
def _mine() -> tuple[Iterator[int], IO[bytes] | None]:
    """The ports of this process, over and over, and the lock that makes them its own."""
    for number in range(_BLOCKS):
        with suppress(OSError):
            lock = (Path(tempfile.gettempdir()) / f"ampguard-ports-{number}").open("ab")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.close()
                continue
            start = _FIRST + number * _SIZE
            return itertools.cycle(range(start, start + _SIZE)), lock
    return iter(()), None


def _bound(port: int, kind: int) -> int:
    with socket.socket(socket.AF_INET, kind) as s:
        s.bind(("127.0.0.1", port))
        return int(s.getsockname()[1])
