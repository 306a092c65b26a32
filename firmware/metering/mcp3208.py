"""Driver (c): a Microchip MCP3208 on SPI, 12 bits without the ESP32's bends and dead zone.

In: an SPI bus in mode 0 (2 MHz at most at 5 V, 1 MHz at 2.7 V) and the chip-select pin. Data
sheet DS21298, 6.1: three bytes; 00000 start single D2 / D1 D0 and six ignored / ignored. The
answer's second byte ends with a zero bit and the four highest bits of the result.
"""

import micropython
from micropython import const

_NULL_BIT = const(0x10)


class Mcp3208:
    def __init__(self, spi, select, channels=(0, 1, 2, 3, 4, 5)):
        """channels: inputs of the chip for i1 i2 i3 u1 u2 u3. ValueError if they are not six
        different ones of 0..7, or if no chip answers.
        """
        if len(set(channels)) != 6 or len(channels) != 6 or not 0 <= min(channels) <= max(
            channels
        ) <= 7:  # fmt: skip
            raise ValueError("MCP3208: expected six of the channels 0..7, got %r" % (channels,))
        select(1)
        answer = bytearray(3)
        inputs = [_Input(spi, select, channel, answer) for channel in channels]
        for entry in inputs:
            code = entry.read_u16()
            if answer[1] & _NULL_BIT or (code == 0 and not any(answer)):
                raise ValueError(
                    "MCP3208: no answer on SPI (%02x %02x %02x): check its wires and pin map"
                    % tuple(answer)
                )
        self.readers = tuple([entry.read_u16 for entry in inputs])

    def take_problem(self):
        return None


class _Input:
    def __init__(self, spi, select, channel, answer):
        self._exchange = spi.write_readinto
        self._select = select
        self._request = bytes((6 | channel >> 2, (channel & 3) << 6, 0))
        self._answer = answer

    @micropython.native
    def read_u16(self):
        answer = self._answer
        self._select(0)
        self._exchange(self._request, answer)
        self._select(1)
        code = (answer[1] & 15) << 8 | answer[2]
        return code << 4 | code >> 8
