"""Keeps the device honest about being alive: a watchdog that is fed only while everybody shows
life, a count of boots, the last crash kept on flash, and the crash loop recognised.

BootRecord is what every boot pays (boot.py); Supervisor is one task of the running device.
"""

import asyncio
import sys

from device.storage import Record

_LOOP_CRASHES = 3
_LOOP_S = 600
_PERIOD_MS = 500
_CRASH_BYTES = 2048


class Stalled(Exception):
    """A part showed no life in time. Ends the run; the reboot reports it."""


class BootRecord:
    """boots: how often this device started, this time included; crashes: seconds each of the
    last runs lasted, if it crashed before it had run for ten minutes."""

    def __init__(self, path, crash_path):
        self._record = Record(path)
        self._crash_path = crash_path
        kept = self._record.load() or {}
        boots = kept.get("boots")
        crashes = kept.get("crashes")
        self.boots = boots if type(boots) is int else 0
        self.crashes = crashes if type(crashes) is list else []

    @property
    def looping(self):
        """Three crashes within ten minutes of running."""
        last = self.crashes[-_LOOP_CRASHES:]
        return len(last) == _LOOP_CRASHES and sum(last) <= _LOOP_S

    def boot(self, by_watchdog=False):
        """Counts this boot. The watchdog leaves no traceback: its reset counts as a crash."""
        self.boots += 1
        if by_watchdog and not self._crash_counted():
            self._add_crash(0)
        self._save(counted=False)

    def crashed(self, fault, uptime_s):
        """Keeps the traceback for the next run to report."""
        with open(self._crash_path, "w") as file:
            file.write("boot %d, after %d s\n" % (self.boots, uptime_s))
            _print_exception(fault, file)
        self._add_crash(uptime_s)
        self._save(counted=True)

    def settled(self):
        """The device has run for ten minutes: what crashed before is history."""
        if self.crashes:
            self.crashes = []
            self._save(counted=False)

    def last_crash(self):
        """The kept traceback, at most 2 kB of it, or None."""
        try:
            with open(self._crash_path) as file:
                return file.read(_CRASH_BYTES)
        except OSError:
            return None

    def _add_crash(self, uptime_s):
        self.crashes = (self.crashes + [uptime_s])[-_LOOP_CRASHES:]

    def _crash_counted(self):
        kept = self._record.load() or {}
        return bool(kept.get("counted"))

    def _save(self, counted):
        self._record.save({"boots": self.boots, "crashes": self.crashes, "counted": counted})


class Supervisor:
    """Feeds `wdt` (anything with feed(), or None) while every watched part is fresh."""

    def __init__(self, wdt, time, boots, log):
        self._wdt = wdt
        self._time = time
        self._boots = boots
        self._log = log
        self._watched = []
        self._up_ms = 0
        self._last_ms = time.ticks_ms()

    def watch(self, name, limit_ms, alive_ms):
        """`alive_ms()` returns the ticks_ms() of the part's last sign of life."""
        self._watched.append((name, limit_ms, alive_ms))

    def beat(self, name, limit_ms):
        """For a part that has no stamp of its own: returns a function to be called when alive."""
        beat = _Beat(self._time)
        self.watch(name, limit_ms, beat.last)
        return beat

    @property
    def uptime_s(self):
        return self._up_ms // 1000

    def step(self):
        """Feeds the watchdog, or raises Stalled with the name of the part that shows no life."""
        now = self._time.ticks_ms()
        before_s = self.uptime_s
        self._up_ms += self._time.ticks_diff(now, self._last_ms)
        self._last_ms = now
        for name, limit_ms, alive_ms in self._watched:
            silent_ms = self._time.ticks_diff(self._time.ticks_ms(), alive_ms())
            if silent_ms > limit_ms:
                raise Stalled("%s: no sign of life for %d s" % (name, silent_ms // 1000))
        if self._wdt is not None:
            self._wdt.feed()
        if before_s < _LOOP_S <= self.uptime_s:
            self._boots.settled()
            self._log.info("device", "ten minutes without a crash")

    async def run(self):
        while True:
            self.step()
            await asyncio.sleep(_PERIOD_MS / 1000)


class _Beat:
    def __init__(self, time):
        self._time = time
        self._at = time.ticks_ms()

    def __call__(self):
        self._at = self._time.ticks_ms()

    def last(self):
        return self._at


def _print_exception(fault, file):
    if hasattr(sys, "print_exception"):
        sys.print_exception(fault, file)
    else:
        file.write(repr(fault))
