# Power comes on: the stand-ins take their places, the flash is mounted, boot.py and main.py run
# as ports/esp32/main.c runs them.
# ruff: noqa: F401, I001 (modules of the board, not of the host's library)
import gc
import sys

import _board
import _clock
import _flash
import _tasks
import _threads
import esp32
import machine
import network
import ntptime
import os
import select
import socket
import time

import umqtt.simple


_INTERRUPT_BYTE = 15
_interrupts = bytearray(1)

sys.modules["_asyncio"] = _tasks
try:
    import ssl
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
        if not isinstance(e, KeyboardInterrupt):
            _board.emit(ev="crash", file=path, error=repr(e))
        return False
    return True


def _watch_interrupts():
    # Ctrl-C on the serial port, see sim/serial_port.py.
    now = _clock.air[_INTERRUPT_BYTE]
    if now != _interrupts[0]:
        _interrupts[0] = now
        _board.emit(ev="interrupted")
        raise KeyboardInterrupt


def _power_on():
    _clock.load_plant()
    _clock.look()
    if _board.config.get("measure"):
        # What every firmware asks for once; on the board these live outside the Python heap.
        held = [network.WLAN(network.WLAN.IF_STA), network.WLAN(network.WLAN.IF_AP)]
        for number in (36, 39, 32, 33, 34, 35):
            try:
                held.append(machine.ADC(machine.Pin(number)))
            except ValueError:  # another chip, with its pins elsewhere
                break
        held += [socket.socket() for _ in range(3)]
        if "chip_file" in _board.config:
            import _chip  # noqa: PLC0415

            held.append(_chip.Chip(_board.config["chip_file"]))
        gc.collect()
        _board.emit(ev="standins", bytes=gc.mem_alloc())
        return
    _flash.mount()
    sys.path[:] = ["", ".frozen", "/lib"]
    gc.collect()
    names = __import__("__main__").__dict__  # the REPL's
    _clock.watch(_watch_interrupts)
    _board.emit(ev="boot")
    if _run("boot.py", names) and not _board.config.get("raw_repl"):
        _run("main.py", names)
    _board.emit(ev="repl")
    while not _board.config.get("repl"):  # else the VM's own takes over (its option -i)
        time.sleep_ms(100)


_power_on()
