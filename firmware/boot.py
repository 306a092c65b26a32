"""Runs before main.py and exits at once: chooses the slot, and counts this boot, so that a crash
loop is recognised. It lies in the root, and no update replaces it."""

import sys

import machine
import slots  # type: ignore[import-not-found] # device/slots.py: it lies in the root too

root = 1  # raised when this, main.py or slots.mpy change in a way that an update needs
news = None  # of the slots: what main.py's firmware has to judge or to tell
try:
    news = slots.start()
    if news and "back" in news:
        # Should the new firmware hang before it has a watchdog. Its own sets another time.
        machine.WDT(timeout=60_000)
except Exception as fault:
    # The board would not run main.py after a boot.py that failed.
    sys.print_exception(fault)
    sys.path[0] = "/a"
del slots, sys.modules["slots"]

try:
    from device.boots import BootRecord

    record = BootRecord()
    record.boot(by_watchdog=machine.reset_cause() == machine.WDT_RESET)
    if news:
        record.settled()  # crashes on trial end the trial; nobody else is blamed for them
    del record, BootRecord
except Exception as fault:
    sys.print_exception(fault)  # a full flash, say
