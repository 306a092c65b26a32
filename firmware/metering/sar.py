"""Driver (b): the classic ESP32's SAR ADC1 by its registers, about 10 us a conversion.

machine.ADC has configured pin, attenuation and width before; here a conversion is started and
waited for. In: six pairs of ADC1 channel (0..7) and that channel's machine.ADC.read_u16. Every
wait is bounded: a conversion can hang under Wi-Fi power save. After the first that does, the
driver reads through machine.ADC for good, and says so.

Registers: ESP32 Technical Reference Manual, chapter "On-Chip Sensors and Analog Signal
Processing": SENS_SAR_MEAS_START1 (bit 31 pads forced, 30:19 pads, 18 start forced, 17 start, 16
done, 15:0 data), SENS_SAR_SLAVE_ADDR1 (29:22 busy).
"""

# ruff: noqa: F821 (viper's pointer types)

from array import array

import micropython
from micropython import const

_SENS = const(0x3FF48800)
_SLAVE_ADDR1 = const(15)  # words from there
_MEAS_START1 = const(21)
_BUSY = const(0x3FC00000)
_START = const(0x20000)
_START_FORCED = const(0x40000)
_DONE = const(0x10000)
_SPINS = const(400)  # reads of a register on the slow bus, 40 to 160 us in all


class SarAdc:
    def __init__(self, inputs, registers=_SENS):
        """inputs: six (channel, read_u16). ValueError for channels that ADC1 does not have."""
        if len(inputs) != 6:
            raise ValueError("SAR ADC: expected six channels, got %d" % len(inputs))
        self._hung = array("i", [0])  # 1 + channel once one did
        readers = []
        for channel, slow in inputs:
            if not 0 <= channel <= 7:
                raise ValueError("SAR ADC: expected channels 0..7, got %r" % (channel,))
            readers.append(_Input(registers, channel, slow, self._hung).read_u16)
        self.readers = tuple(readers)
        self._told = False

    def take_problem(self):
        if self._told or not self._hung[0]:
            return None
        self._told = True
        return "ADC channel %d hung: reading slower from now on" % (self._hung[0] - 1)


class _Input:
    def __init__(self, registers, channel, slow, hung):
        self._registers = registers
        self._channel = channel
        self._slow = slow
        self._hung = hung

    @micropython.viper
    def read_u16(self) -> int:
        """A conversion as 16 bits. Values are written whole: what stood there before is unknown,
        since machine.ADC uses the same registers.
        """
        hung = ptr32(self._hung)
        if hung[0]:
            return int(self._slow())
        s = ptr32(self._registers)
        channel = int(self._channel)
        setup = 1
        setup = (setup << 31) | (setup << (19 + channel)) | _START_FORCED
        spins = 0
        while s[_SLAVE_ADDR1] & _BUSY:
            spins += 1
            if spins > _SPINS:
                hung[0] = 1 + channel
                return int(self._slow())
        s[_MEAS_START1] = setup
        s[_MEAS_START1] = setup | _START
        while True:
            data = s[_MEAS_START1]
            if data & _DONE:
                data &= 0xFFF
                return data << 4 | data >> 8
            spins += 1
            if spins > _SPINS:
                hung[0] = 1 + channel
                return int(self._slow())
