"""Whether a device published throughout: consumers call it stale after 10 s without a word.

In: when the power came and when measurements came, in seconds of any steady clock. Out: the fault
in one line, or none.
"""

STALE_S = 10.0


class Throughout:
    """From the first measurement on, no gap longer than `STALE_S`."""

    def __init__(self) -> None:
        self.count = 0
        self._power_on = 0.0
        self._first = 0.0
        self._last = 0.0
        self._fault = ""

    def power_on(self, t: float) -> None:
        """The run begins."""
        self._power_on = t

    def measured(self, t: float) -> None:
        """A measurement came."""
        if self.count == 0:
            self._first = t
        else:
            self._check(t)
        self.count += 1
        self._last = t

    def fault(self, t: float) -> str:
        """What was wrong up to now, or nothing."""
        if self.count == 0:
            return f"no measurement came in {t - self._power_on:.1f} s"
        self._check(t)
        return self._fault

    def summary(self, t: float) -> str:
        """The good news of a run."""
        rate = (self.count - 1) / (self._last - self._first) if self.count > 1 else 0.0
        return (
            f"{self.count} measurements in {t - self._power_on:.0f} s, the first after "
            f"{self._first - self._power_on:.1f} s, then {rate:.2f} a second"
        )

    def _check(self, t: float) -> None:
        gap = t - self._last
        if gap > STALE_S and not self._fault:
            since = self._last - self._power_on
            self._fault = f"no measurement for {gap:.1f} s, from {since:.1f} s after power-on on"
