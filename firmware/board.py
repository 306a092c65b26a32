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

# ADC1 only: ADC2 is not available while Wi-Fi is on.
CURRENT_PINS = (36, 39, 32)
VOLTAGE_PINS = (33, 34, 35)

# "adc": machine.ADC, any chip. "registers": the classic ESP32's own converter, three times as
# fast, not yet proven on a board. "mcp3208": an external converter on SPI.
CONVERTER = "adc"
_ADC1 = (36, 37, 38, 39, 32, 33, 34, 35)  # the classic ESP32's, by channel
_SPI_PINS = (14, 32, 34, 33)  # SCK, MOSI, MISO, select

_LED = const(4)
_BUTTON = const(13)  # to ground; not a strapping pin, so a finger on it never changes the boot

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


def converter():
    """Returns the ADC of CONVERTER for i1 i2 i3 u1 u2 u3, at 11 dB (150 to 2450 mV) where it is
    the chip's own. ValueError if the pin map is wrong.
    """
    if CONVERTER == "mcp3208":
        from machine import SPI  # noqa: PLC0415 (only where it is used)

        from metering.mcp3208 import Mcp3208  # noqa: PLC0415

        sck, mosi, miso, select = _SPI_PINS
        spi = SPI(2, baudrate=1_000_000, sck=Pin(sck), mosi=Pin(mosi), miso=Pin(miso))
        return Mcp3208(spi, Pin(select, Pin.OUT, value=1))
    pins = CURRENT_PINS + VOLTAGE_PINS
    check_pins(pins, _ADC1)
    readers = [ADC(Pin(number), atten=ADC.ATTN_11DB).read_u16 for number in pins]
    if CONVERTER == "registers":
        from metering.sar import SarAdc  # noqa: PLC0415

        return SarAdc([(_ADC1.index(pin), read) for pin, read in zip(pins, readers)])
    return InternalAdc(readers)


def lan():
    """Returns the network.LAN of the LAN8720, or None where the chip or the PHY is missing."""
    if not hasattr(network, "LAN"):
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
    return Pin(_LED, Pin.OUT, value=0)


def button():
    """Returns the button's Pin: 0 while pressed."""
    return Pin(_BUTTON, Pin.IN, Pin.PULL_UP)


def watchdog():
    """Starts the watchdog; from here on it can't be stopped, only fed."""
    return machine.WDT(timeout=WATCHDOG_MS)


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


def restart():
    machine.reset()
