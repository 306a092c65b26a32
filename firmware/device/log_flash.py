"""The part of the log (log.py) that lies on flash. Loaded for a write, at most once a minute.

A write appends to <folder>/new and begins with a line of its own: "-- ", the number of the write,
the time. At 16 kB /new becomes /old. A power cut costs what was in memory; where it tears a line,
the next write begins a new one.
"""

import os

from micropython import const

_FILE = const(16 * 1024)
_LARGEST = const(1024 + 160)  # bytes of a write
_SET = const(757_382_400)  # 2024-01-01 in seconds since 2000: before that nobody has set the clock


def append(log, lost, time):
    """Writes what is in memory. OSError: flash is full, say."""
    new = log.folder + "/new"
    try:
        if os.stat(new)[6] > _FILE - _LARGEST:
            os.rename(new, log.folder + "/old")
    except OSError:  # there is none yet
        pass
    head = "\n-- %d %s%s\n" % (
        log.written + 1,
        _now(time),
        ", %d lines lost" % lost if lost else "",
    )
    with open(new, "ab") as file:
        file.write(head.encode())
        file.write(memoryview(log.kept)[: log.end])


def written(folder):
    """The number of the last write there; makes the folder."""
    try:
        os.mkdir(folder)
    except OSError:  # it is there already; if not, the first write will say so
        pass
    return _last(folder + "/new") or _last(folder + "/old")


def _last(name):
    try:
        with open(name, "rb") as file:
            file.seek(max(0, os.stat(name)[6] - _LARGEST))
            tail = file.read()
    except OSError:
        return 0
    while True:
        at = tail.rfind(b"\n-- ")
        if at < 0:
            return 0
        number = tail[at + 4 :].split(b" ", 1)
        if len(number) > 1 and number[0].isdigit():  # else a power cut tore it
            return int(number[0])
        tail = tail[:at]


def _now(time):
    seconds = time.time()
    if seconds < _SET:
        return "clock not set"
    return "%d-%02d-%02d %02d:%02d:%02d UTC" % tuple(time.gmtime(seconds)[:6])
