"""Keeps the device honest about being alive: a watchdog that is fed only while everybody shows
life. boots.py counts the boots and keeps the crashes; docs/health.md has what it was proven with.
"""

import asyncio
import gc

from micropython import const

from device.unloading import unload

_FIRST_LOOK_S = const(60)
_CALM_S = const(600)
_HOUR_S = const(3600)
_PERIOD_MS = const(500)
_HANG_MS = const(10_000)  # before the watchdog's 15 s

_core = getattr(asyncio, "core", None)  # CPython has none


class Stalled(Exception):
    """A part showed no life in time. Ends the run; the reboot reports it."""


class Supervisor:
    """Feeds `wdt` (anything with feed(), or None) while every watched part is fresh. free_low:
    the least heap that was free behind a collection, bytes; health: a part of `info`, or None."""

    def __init__(self, wdt, time, log, keep=None):
        """keep(words) holds them for the next run, whatever ends this one."""
        self.free_low = None
        self.health = None
        self._wdt = wdt
        self._time = time
        self._log = log
        self._keep = keep
        self._beats = []
        self._watched = []
        self._due_s = _FIRST_LOOK_S
        self._up_ms = 0
        self._last_ms = time.ticks_ms()

    def watch(self, name, limit_ms, alive_ms):
        """`alive_ms()` returns the ticks_ms() of the part's last sign of life."""
        self._watched.append((name, limit_ms, alive_ms))

    def beat(self, name, limit_ms):
        """For a part that has no stamp of its own: returns a function to be called when alive."""
        beat = Beat(self._time)
        self._beats.append((name, beat))
        self.watch(name, limit_ms, beat.last)
        return beat

    @property
    def uptime_s(self):
        return self._up_ms // 1000

    def collected(self):
        """To be called behind a gc.collect()."""
        free = gc.mem_free()
        if self.free_low is None or free < self.free_low:
            self.free_low = free

    def step(self):
        """Feeds the watchdog, or raises Stalled with the name of the part that shows no life."""
        now = self._time.ticks_ms()
        self._up_ms += self._time.ticks_diff(now, self._last_ms)
        self._last_ms = now
        for name, limit_ms, alive_ms in self._watched:
            silent_ms = self._time.ticks_diff(self._time.ticks_ms(), alive_ms())
            if silent_ms > limit_ms:
                raise Stalled("%s: no sign of life for %d s" % (name, silent_ms // 1000))
        if self._wdt is not None:
            self._wdt.feed()

    def look_on(self):
        """For the other thread: what hangs is kept, once."""
        silent_ms = self._time.ticks_diff(self._time.ticks_ms(), self._last_ms)
        if silent_ms > _HANG_MS and self._keep:
            keep, self._keep = self._keep, None
            try:
                from device import hang  # noqa: PLC0415 (hardly ever)

                keep(hang.words(self._beats, self.uptime_s, silent_ms))
            except MemoryError:
                pass
            unload("device.hang")

    async def run(self, beat, **parts):
        """The task. `beat` is whose longest silence is told, `parts` go to health.look()."""
        while True:
            self.step()
            self._log.tend()
            if self.uptime_s >= self._due_s:
                self._look(beat, parts)
            await asyncio.sleep(_PERIOD_MS / 1000)

    def _look(self, beat, parts):
        """After a minute, after ten, then every hour."""
        due = self._due_s
        self._due_s = _CALM_S if due < _CALM_S else due // _HOUR_S * _HOUR_S + _HOUR_S
        try:
            from device import health  # noqa: PLC0415 (once an hour)

            self.health = health.look(self.free_low, beat.worst_ms, self.uptime_s, **parts)
        except MemoryError:
            self._due_s = due + _FIRST_LOOK_S
        unload("device.health", "device.boots")
        beat.worst_ms = 0


class Beat:
    """worst_ms: the longest time between two signs of life since it was set to 0; task: whose
    they are."""

    def __init__(self, time):
        self.worst_ms = 0
        self.task = None
        self._time = time
        self._at = time.ticks_ms()

    def __call__(self):
        now = self._time.ticks_ms()
        silent_ms = self._time.ticks_diff(now, self._at)
        if silent_ms > self.worst_ms:
            self.worst_ms = silent_ms
        self._at = now
        self.task = getattr(_core, "cur_task", None)

    def last(self):
        return self._at
