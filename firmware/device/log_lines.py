"""Reads what log.py keeps: on flash and in memory, oldest first. Loaded when somebody asks.

In: the Log. Out: text, in pieces that fit on the heap.
"""

import os


def pieces(log, size=512):
    """Yields the whole log as bytes, `size` at most each; a line may be in two of them."""
    for name in ("/old", "/new"):
        try:
            with open(_path(log, name), "rb") as file:
                while True:
                    piece = file.read(size)
                    if not piece:
                        break
                    yield piece
        except OSError:  # there is none
            pass
    at = 0
    while at < log.end:
        yield bytes(memoryview(log.kept)[at : min(log.end, at + size)])
        at += size


def last(log, room=2000):
    """The last lines, whole ones, `room` characters of them at most."""
    tail = bytes(memoryview(log.kept)[: log.end])
    for name in ("/new", "/old"):
        if len(tail) <= room:
            tail = _tail(_path(log, name), room + 1 - len(tail)) + tail
    lines = text(tail[-room - 1 :]).split("\n")
    # The first began before what was read, unless that was all there is.
    return [line for line in (lines[1:] if len(tail) > room else lines) if line]


def text(data):
    """ASCII of what a power cut may have torn anywhere."""
    try:
        return data.decode()
    except UnicodeError:
        return bytes([byte if byte < 127 else 63 for byte in data]).decode()


def _path(log, name):
    return (log.folder or "/nowhere") + name


def _tail(name, room):
    try:
        with open(name, "rb") as file:
            file.seek(max(0, os.stat(name)[6] - room))
            return file.read()
    except OSError:
        return b""
