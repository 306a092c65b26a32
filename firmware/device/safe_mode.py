"""Safe mode: what runs after three crashes within ten minutes.

The access point with one page (safe_page.py), and the meter with its counters, if it can. No tasks
and no threads: one loop. It needs a PIN, the access point and the page; everything else is tried,
and left out where it fails. Of a damaged identity what is sound is used (rescue.py); without a PIN
there is no access point, never an open one, and the console says what to do. A quarter of an hour
after the last visit the device tries to run as usual again. The meter is only tried the first
time: should it hang, the second start of safe mode goes without.

run(boots) is called by the root's main.py: a contract between versions.
"""

# ruff: noqa: PLC0415 (what is not needed must not fail)

import gc
import sys
import time

from micropython import const

_STAY_MS = const(900_000)
_WATCHDOG_MS = const(30_000)  # a power of the flash over an update's largest file
_STARTS = const(4)
_SAY_MS = const(60_000)
_REPAIR = "%s; tools/flash.py, over its serial port, says how to repair it"


def run(boots):
    """Never returns: restarts the device when it is over."""
    import board

    boots.enter_safe()
    from device import last_run

    last = last_run.words(boots, board.note())
    try:
        if boots.safe <= _STARTS:
            SafeMode(boots, board, last).serve()
    except Exception as fault:
        sys.print_exception(fault)
    boots.settled()
    board.restart("safe mode after three crashes, the last: " + last)


class SafeMode:
    def __init__(self, boots, board, last):
        import socket

        import network

        from device.log import Log

        self._wdt = board.watchdog(_WATCHDOG_MS)
        self._log = Log(time, print, "/log")
        self._log.warn("device", "safe mode, start %d" % boots.safe)
        self._led = self._tried(board.led)
        self._words = "It does not measure: it hung when it did."
        self._hung = boots.cause == "watchdog" and last  # else there is a traceback
        self._slice = self._energy = self._last = None  # type: ignore[var-annotated]
        self._page = self._repair = None  # type: ignore[var-annotated]
        self._began_ms = self._said_ms = time.ticks_ms()
        identity = self._identity()
        if boots.safe == 1:
            self._words = "It does not measure, see the log."
            self._slice = self._tried(self._start_meter, board, identity)
        if not identity.pin:
            self._log.error("link", "no access point: there is no sound PIN")
            return
        from device.safe_page import Page
        from provisioning.access_point import ADDRESS, AccessPoint

        AccessPoint(network, identity).open()
        self._log.info("link", "access point %s is open" % identity.ssid)
        self._page = Page(
            self,
            ADDRESS,
            identity=identity,
            boots=boots,
            log=self._log,
            feed=self._wdt.feed,
            socket=socket,
            time=time,
        )
        gc.collect()

    def serve(self):
        while self.left_ms() > 0:
            self._wdt.feed()
            self._measure()
            if self._page:
                self._page.answer_names()
                self._page.answer()
                if self._page.over:
                    break
            self._log.tend()
            self._say()
            if self._led:
                slot = time.ticks_diff(time.ticks_ms(), 0) % 2000 // 100
                self._led(slot in (0, 2))  # fault, as in panel.py
        self._log.warn("device", "safe mode ends")
        self._log.flush()

    def left_ms(self):
        """Until it ends by itself."""
        since_ms = self._page.visited_ms if self._page else self._began_ms
        return _STAY_MS - time.ticks_diff(time.ticks_ms(), since_ms)

    def live(self):
        """What is measured, what is to be done, and what no traceback tells, in words."""
        words = self._measured()
        if self._repair:
            words += " " + self._repair + "."
        if self._hung:
            words += " The last time " + self._hung + "."
        return words

    def _measured(self):
        if not self._slice:
            return self._words
        currents = self._last.i_ma if self._last else [None] * 3
        return "It measures and counts, and reports nothing: %s A." % ", ".join(
            ["-" if i is None else "%d.%d" % (i // 1000, i % 1000 // 100) for i in currents]
        )

    def stop_measuring(self, why):
        """For good: the meter's memory is needed."""
        self._slice = self._energy = self._last = None
        self._words = "It does not measure: " + why
        gc.collect()

    def _tried(self, start, *parts):
        """Returns what start(*parts) returns, None if it fails."""
        try:
            return start(*parts)
        except Exception as fault:
            self._log.error("device", "%r" % fault)
            return None

    def _identity(self):
        from device import identity as identities

        try:
            return identities.load("/factory.json")
        except Exception as fault:
            self._repair = _REPAIR % fault
        self._log.error("device", self._repair)
        from device import rescue

        return rescue.identity("/factory.json")

    def _say(self):
        """Once a minute, for whoever listens at the serial port."""
        now = time.ticks_ms()
        if self._repair and time.ticks_diff(now, self._said_ms) >= _SAY_MS:
            self._said_ms = now
            print(self._repair)

    def _start_meter(self, board, identity):
        if not identity.variant or not identity.phases:
            raise ValueError("which clamps it has is not known")
        from device.settings import Settings
        from metering import calibration as calibrations
        from metering.energy import Energy
        from metering.meter import Meter

        settings = Settings("/settings", {"phases": identity.phases})
        self._energy = Energy("/energy", time=time)
        try:
            calibration = calibrations.load(identity.variant, identity.calibration)
        except ValueError as fault:
            self._log.error("meter", "%s; printed values are used" % fault)
            calibration = calibrations.Calibration(identity.variant)
        meter = Meter(
            board.converter(),
            calibration,
            time=time,
            phases=settings.phases,
            energy=self._energy,
        )
        meter.wire(settings.wiring)
        return meter.slice

    def _measure(self):
        if not self._slice:
            time.sleep_ms(20)
            return
        try:
            measurement = self._slice()
            if measurement:
                self._last = measurement
                self._energy.minute(None)  # type: ignore[union-attr]
                gc.collect()
        except Exception as fault:
            self._log.error("meter", "%r" % fault)
            self._words = "It does not measure: %r" % fault
            self._slice = None
        time.sleep_ms(0)
