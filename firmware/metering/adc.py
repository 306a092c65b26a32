"""Converters. Each offers `readers`: six callables, i1 i2 i3 u1 u2 u3, giving counts 0..65535,
and `take_problem()`: words about what went wrong since it was asked last, or None.

This is driver (a), for any chip. (b) sar.py reads the classic ESP32's registers, (c) mcp3208.py
an external converter; board.py chooses, and only what is used lands on the heap.
"""


class InternalAdc:
    """Any ESP32-class chip through bound `machine.ADC.read_u16` methods (about 35 us each)."""

    def __init__(self, readers):
        """readers: six callables in channel order. ValueError if it is anything else."""
        self.readers = tuple(readers)
        if len(self.readers) != 6:
            raise ValueError("ADC: expected six channels, got %d" % len(self.readers))
        for channel, reader in enumerate(self.readers):
            if not callable(reader):
                raise ValueError("ADC channel %d: %r cannot be read" % (channel, reader))

    def take_problem(self):
        return None


def check_pins(pins, allowed):
    """ValueError unless `pins` are six different ones of `allowed`, the inputs of ADC1; four, I1
    I2 I3 U1, are enough on a chip that has no six."""
    least = 6 if len(allowed) >= 6 else 4
    if not least <= len(pins) <= 6:
        raise ValueError("pin map: expected %d to six inputs, got %d" % (least, len(pins)))
    for n, pin in enumerate(pins):
        if pin not in allowed:
            raise ValueError("pin map: GPIO %s is no input of ADC1 %s" % (pin, tuple(allowed)))
        if pin in pins[:n]:
            raise ValueError("pin map: GPIO %d is there twice" % pin)
