"""Converters. Each offers `readers`: six callables, i1 i2 i3 u1 u2 u3, giving counts 0..65535."""


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
