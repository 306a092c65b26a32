"""Runs before main.py and exits at once: counts this boot, so that a crash loop is recognised."""

import machine
import micropython

from device.supervisor import BootRecord

micropython.alloc_emergency_exception_buf(100)
BootRecord("/boot", "/crash.txt").boot(by_watchdog=machine.reset_cause() == machine.WDT_RESET)
