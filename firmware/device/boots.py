"""What every boot pays: a count of boots, the last crash kept on flash, the crash loop recognised.

boot.py and the root's main.py lie outside the slots and call this: __init__, boot(), crashed(),
settled() and `looping` are a contract between versions. Loaded for a moment at the start, after a
crash and once the device has run for ten minutes.
"""

import sys

from micropython import const

from device.storage import Record

_LOOP_CRASHES = const(3)
_LOOP_S = const(600)
_CRASH_BYTES = const(2048)


class BootRecord:
    """boots: how often this device started, this time included; crashes: seconds each of the
    last runs lasted, if it crashed before it had run for ten minutes; cause: what the last run
    ended with, "crash", "watchdog" or None; safe: how often safe mode began since the last crash
    that was not its own."""

    def __init__(self, path="/boot", crash_path="/crash.txt"):
        self._record = Record(path)
        self._crash_path = crash_path
        kept = self._record.load() or {}
        boots = kept.get("boots")
        crashes = kept.get("crashes")
        self.boots = boots if type(boots) is int else 0
        self.crashes = crashes if type(crashes) is list else []
        self.safe = kept.get("safe") or 0
        self._counted = bool(kept.get("counted"))  # the last run's crash is in `crashes`
        # Still set after boot() only where that could not save: a full flash.
        self.cause = "crash" if self._counted else kept.get("cause")

    @property
    def looping(self):
        """Three crashes within ten minutes of running."""
        last = self.crashes[-_LOOP_CRASHES:]
        return len(last) == _LOOP_CRASHES and sum(last) <= _LOOP_S

    def boot(self, by_watchdog=False):
        """Counts this boot. The watchdog leaves no traceback: its reset counts as a crash."""
        self.boots += 1
        if not self._counted:
            self.cause = "watchdog" if by_watchdog else None
            if by_watchdog:
                self._add_crash(0)
        self._save(False)

    def crashed(self, fault, uptime_s):
        """Keeps the traceback for the next run to report. Returns False if there was no room."""
        self._add_crash(uptime_s)
        try:
            self._save(True)
            with open(self._crash_path, "w") as file:
                file.write("boot %d, after %d s\n" % (self.boots, uptime_s))
                _print_exception(fault, file)
        except OSError:
            return False
        return True

    def settled(self):
        """The device has run for ten minutes, or is to be tried once more: what crashed before
        is history."""
        if self.crashes or self.safe:
            self.crashes = []
            self.safe = 0
            try:
                self._save(False)
            except OSError:  # a full flash: then a crash soon after the next boot counts more
                pass

    def enter_safe(self):
        """Counts a start of safe mode."""
        self.safe += 1
        try:
            self._save(False)
        except OSError:
            pass

    def last_crash(self):
        """The kept traceback, at most 2 kB of it, or None."""
        try:
            with open(self._crash_path) as file:
                return file.read(_CRASH_BYTES)
        except OSError:
            return None

    def _add_crash(self, uptime_s):
        self.crashes = (self.crashes + [uptime_s])[-_LOOP_CRASHES:]

    def _save(self, counted):
        self._counted = counted
        self._record.save(
            {
                "boots": self.boots,
                "crashes": self.crashes,
                "counted": counted,
                "cause": self.cause,
                "safe": self.safe,
            }
        )


def _print_exception(fault, file):
    if hasattr(sys, "print_exception"):
        sys.print_exception(fault, file)
    else:
        file.write(repr(fault))
