# Power comes on: the stand-ins take their places, the flash is mounted, boot.py and main.py run
# as ports/esp32/main.c runs them.
import gc
import sys

import _board
import _clock
import _flash
import _tasks
import _threads
import esp32  # noqa: F401
import machine  # noqa: F401
import network  # noqa: F401
import ntptime  # noqa: F401
import os  # noqa: F401
import select  # noqa: F401
import socket  # noqa: F401
import time

import umqtt.simple  # noqa: F401


sys.modules["_asyncio"] = _tasks
try:
    import ssl  # noqa: F401
except ImportError:
    # This VM was built without TLS. The image has it: the module is there, a use of it fails.
    sys.modules["ssl"] = type("ssl", (), {})
sys.modules["_thread"] = _threads


def _run(path, names):
    # Returns False if the file ended in an exception, which is printed as the REPL would.
    try:
        os.stat(path)
    except OSError:
        return True
    try:
        execfile(path, names)  # noqa: F821
    except SystemExit:
        _board.reset(machine.SOFT_RESET)
    except BaseException as e:
        sys.print_exception(e)
        _board.emit(ev="crash", file=path, error=repr(e))
        return False
    return True


def _power_on():
    _clock.load_plant()
    _clock.look()
    if _board.config.get("measure"):
        gc.collect()
        _board.emit(ev="standins", bytes=gc.mem_alloc())
        return
    _flash.mount()
    sys.path[:] = ["", ".frozen", "/lib"]
    gc.collect()
    names = {"__name__": "__main__"}
    if _run("boot.py", names):
        _run("main.py", names)
    _board.emit(ev="repl")
    while True:
        time.sleep_ms(100)


_power_on()
