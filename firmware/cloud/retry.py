"""When to try again: soon while it may be a restart, seldom when it is refused for a reason.

In: the kind of each failure and how long the attempt took. Out: milliseconds to wait. A broker
that comes back must see a measurement within 3 s, also after minutes, so the first ten minutes
are tried every second or so; what needs a person (a wrong PIN, a certificate) starts slower.
"""

from micropython import const

from cloud import faults

_QUICK_MS = const(1000)
_SLOW_MS = const(5000)
_LONGEST_MS = const(60_000)
_SHORTEST_MS = const(250)
_PATIENCE_MS = const(600_000)  # of failures, after which quick retries grow longer too
_SLOW = (faults.REJECTED, faults.TLS, faults.POLICY)


class Retry:
    def __init__(self, random_below):
        """`random_below(n)`: 0..n-1. Spreads the devices of a town after a power cut."""
        self._random_below = random_below
        self.reset()

    def reset(self):
        """The connection held, or the way to the network is another one."""
        self._quick_ms = _QUICK_MS
        self._slow_ms = _SLOW_MS
        self._failing_ms = 0

    def after(self, kind, took_ms):
        """The wait after a failure of `kind` (cloud.faults') whose attempt took `took_ms`."""
        if kind in _SLOW:
            base_ms = self._slow_ms
            self._slow_ms = min(base_ms * 2, _LONGEST_MS)
        else:
            base_ms = self._quick_ms
            if self._failing_ms > _PATIENCE_MS:
                self._quick_ms = min(base_ms * 2, _LONGEST_MS)
        # Jitter on top, but never more than the longest; a slow attempt counts as waiting.
        base_ms = min(base_ms + self._random_below(base_ms // 2), _LONGEST_MS)
        wait_ms = max(base_ms - took_ms, _SHORTEST_MS)
        self._failing_ms += took_ms + wait_ms
        return wait_ms
