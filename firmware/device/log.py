"""What the device has to say to a person: a line on the console, and a ring of 32 kB on flash.

In: info/warn/error(area, words), from any thread; tend() twice a second. Words never hold a
password, the PIN or a key: whoever writes a line leaves them out, nothing here could recognise
them. Out: log_lines.py reads what is kept.

Lines gather in memory. A warning or an error is on flash (log_flash.py) a minute later, an info
after ten; no two writes are closer than a minute, however much is said, and what finds no room
until then goes, oldest first. docs/health.md counts what that wears of the flash.
"""

from _thread import allocate_lock

from micropython import const

from device.unloading import unload

_LINE = const(160)  # bytes of a line
_MEMORY = const(1024)
_FULL = const(768)
_SOON_MS = const(60_000)
_LATE_MS = const(600_000)


class Log:
    """kept[:end]: lines not yet on flash; written: how often this device wrote to flash;
    problem: why it can't now, or None."""

    def __init__(self, time, write=print, folder=None):
        self.folder = folder
        self.written = 0
        self.problem = None
        self.kept = bytearray(_MEMORY)
        self.end = 0
        self._time = time
        self._write = write
        self._lock = allocate_lock()
        self._lost = 0
        self._urgent = False
        self._waited_ms = 0
        self._last_ms = time.ticks_ms()
        if folder:
            from device import log_flash  # noqa: PLC0415 (rarely needed)

            self.written = log_flash.written(folder)
            unload("device.log_flash")

    def info(self, area, words):
        self._add("I", area, words)

    def warn(self, area, words):
        self._add("W", area, words)
        self._urgent = True

    def error(self, area, words):
        self._add("E", area, words)
        self._urgent = True

    def tend(self):
        """Writes to flash what is due. Stops everything for as long as the flash takes."""
        now = self._time.ticks_ms()
        waited_ms = self._waited_ms + self._time.ticks_diff(now, self._last_ms)
        self._waited_ms = min(waited_ms, _LATE_MS)
        self._last_ms = now
        soon = self._urgent or self.end > _FULL
        if self.end and self._waited_ms >= (_SOON_MS if soon else _LATE_MS):
            self.flush()

    def flush(self):
        """Writes what is in memory to flash, now. A full flash is a `problem`, no exception."""
        self._waited_ms = 0
        if not self.folder or not self.end or not self._lock.acquire(False):
            return
        try:
            from device import log_flash  # noqa: PLC0415 (rarely needed)

            log_flash.append(self, self._lost, self._time)
            self.written += 1
            self.end = self._lost = 0
            self._urgent = False
            self.problem = None
        except (OSError, MemoryError) as fault:
            self.problem = "the log cannot be written: %s" % fault
        finally:
            self._lock.release()
            unload("device.log_flash")

    def _add(self, level, area, words):
        ms = self._time.ticks_ms()
        line = "%d.%03d %s %s: %s" % (ms // 1000, ms % 1000, level, area, words)
        if "\n" in line:
            line = line.replace("\n", " ")
        if len(line) > _LINE:
            line = line[: _LINE - 3] + "..."
        self._write(line)
        data = line.encode()[:_LINE]
        size = len(data) + 1
        with self._lock:
            if self.end + size > _MEMORY:
                self._make_room(size)
            end = self.end
            self.kept[end : end + size - 1] = data
            self.kept[end + size - 1] = 10
            self.end = end + size

    def _make_room(self, size):
        kept = memoryview(self.kept)
        start = 0
        while self.end - start + size > _MEMORY:
            while kept[start] != 10:
                start += 1
            start += 1
            self._lost += 1
        kept[: self.end - start] = kept[start : self.end]
        self.end -= start
