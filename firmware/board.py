"""The board: the only file that knows pins, PHY, LED and button.

Hands out the parts of the hardware ready to use; everything else takes them as arguments.
docs/hardware.md has the schematic that these numbers belong to.
"""

import os

import machine
import network
from machine import ADC, Pin
from micropython import const

from metering.adc import InternalAdc, check_pins

# "adc": machine.ADC, any chip. "registers": the classic ESP32's own converter, three times as
# fast, not yet proven on a board. "mcp3208": an external converter on SPI.
CONVERTER = "adc"

_PHY_MDC = const(23)
_PHY_MDIO = const(18)
_PHY_ADDRESS = const(1)
_PHY_CLOCK = const(17)  # the ESP32 drives the PHY's 50 MHz

WATCHDOG_MS = const(15_000)

_RESET_CAUSES = {
    "PWRON_RESET": "power_on",
    "HARD_RESET": "restart",
    "WDT_RESET": "watchdog",
    "DEEPSLEEP_RESET": "deep_sleep",
    "SOFT_RESET": "soft_reset",
}


def _chip():
    return os.uname().machine.split(" with ")[-1]


def pins():
    """Of this chip: the inputs I1 I2 I3 U1 U2 U3 (or as many as there are, U1 at least); those of
    ADC1 by channel, since ADC2 is not available while Wi-Fi is on; LED; button; SPI's SCK, MOSI,
    MISO and select. None of them decides at a reset how the chip starts: a finger on the button
    never does. ValueError for a chip without a map.
    """
    chip = _chip()
    if chip == "ESP32":
        inputs = (36, 39, 32, 33, 34, 35)
        return inputs, (36, 37, 38, 39, 32, 33, 34, 35), 4, 13, (14, 32, 34, 33)
    if chip == "ESP32S3":
        return (1, 2, 4, 5, 6, 7), range(1, 11), 15, 16, (12, 11, 13, 10)
    if chip == "ESP32C3":  # five channels, one of them a strapping pin: one voltage
        return (0, 1, 3, 4), range(5), 10, 5, (6, 7, 4, 3)
    raise ValueError("no pin map for %s, expected ESP32, ESP32S3 or ESP32C3" % chip)


def converter():
    """Returns the ADC of CONVERTER for i1 i2 i3 u1 u2 u3, at 11 dB (150 to 2450 mV) where it is
    the chip's own. ValueError if the pin map is wrong.
    """
    inputs, adc1, _, _, (sck, mosi, miso, select) = pins()
    if CONVERTER == "mcp3208":
        from machine import SPI  # noqa: PLC0415 (only where it is used)

        from metering.mcp3208 import Mcp3208  # noqa: PLC0415

        spi = SPI(1, baudrate=1_000_000, sck=Pin(sck), mosi=Pin(mosi), miso=Pin(miso))
        return Mcp3208(spi, Pin(select, Pin.OUT, value=1))
    check_pins(inputs, adc1)
    readers = [ADC(Pin(number), atten=ADC.ATTN_11DB).read_u16 for number in inputs]
    if CONVERTER == "registers":
        from metering.sar import SarAdc  # noqa: PLC0415

        return SarAdc([(adc1.index(pin), read) for pin, read in zip(inputs, readers)])
    while len(readers) < 6:
        readers.append(_resting(readers[3]))
    return InternalAdc(readers)


def _resting(read):
    """A voltage input that the chip does not have: it rests at the bias, and takes its time."""
    count = 23_000

    def rest():
        nonlocal count
        read()
        count ^= 16  # a step of 12 bits: what never moves is no input
        return count

    return rest


def lan():
    """Returns the network.LAN of the LAN8720, or None where the chip or the PHY is missing."""
    if _chip() != "ESP32":  # others know LAN as well, but only chips on SPI
        return None
    try:
        return network.LAN(  # type: ignore[call-arg]  # the stubs know another port's LAN
            mdc=Pin(_PHY_MDC),
            mdio=Pin(_PHY_MDIO),
            phy_type=network.PHY_LAN8720,
            phy_addr=_PHY_ADDRESS,
            ref_clk=Pin(_PHY_CLOCK),
            ref_clk_mode=Pin.OUT,
        )
    except OSError:
        return None


def led():
    return Pin(pins()[2], Pin.OUT, value=0)


def button():
    """Returns the button's Pin: 0 while pressed."""
    return Pin(pins()[3], Pin.IN, Pin.PULL_UP)


def watchdog(timeout_ms=WATCHDOG_MS):
    """Starts the watchdog; from here on it can't be stopped, only fed."""
    return machine.WDT(timeout=timeout_ms)


def mac():
    """Returns the board's MAC address as "24:0a:c4:12:34:56"."""
    return ":".join("%02x" % byte for byte in machine.unique_id())


def image():
    """Returns the name and version of the MicroPython image, e.g. "ESP32 1.29.0"."""
    about = os.uname()
    return "%s %s" % (about.sysname.upper(), about.release)


def reset_cause():
    """Returns why the board started, a word of docs/protocol.md: "power_on", "watchdog", ..."""
    cause = machine.reset_cause()
    for name, word in _RESET_CAUSES.items():
        if getattr(machine, name) == cause:
            return word
    return "unknown"


def keep(note):
    """`note` is text for the next run, kept where only a power cut clears it."""
    machine.RTC().memory(note.encode())


def restart(note=None):
    try:
        if note:
            keep(note)
    finally:  # whatever the heap holds
        machine.reset()


def note():
    """Returns what the run before kept, once, or None."""
    memory = machine.RTC().memory
    kept = memory()
    if not kept:
        return None
    memory(b"")
    try:
        return kept.decode()
    except UnicodeError:
        return None
