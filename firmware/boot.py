"""Runs before main.py and exits at once: counts this boot, so that a crash loop is recognised."""

import sys

import machine

from device.supervisor import BootRecord

try:
    by_watchdog = machine.reset_cause() == machine.WDT_RESET
    BootRecord("/boot", "/crash.txt").boot(by_watchdog=by_watchdog)
except Exception as fault:
    # A full flash, say. The board would not run main.py after a boot.py that failed.
    sys.print_exception(fault)
