"""Energy records and events on their way to the broker, small enough for a week of them on flash.

In: a metering.energy.Record, or an event's payload. Out: (kind, bytes) for the backlog, and from
these again the topic's name and the payload.
"""

import struct

from micropython import const

from cloud import protocol

ENERGY = const(1)
EVENT = const(2)

_LAYOUT = "<I2I8I3I"  # seq; from, to; counters in Wh; highest currents in mA
_NONE = 0xFFFFFFFF


class _Record:
    def __init__(self, numbers):
        self.seq, self.from_s, self.to_s = numbers[:3]
        self.imp_wh = numbers[3:6]
        self.exp_wh = numbers[6:9]
        self.net_imp_wh, self.net_exp_wh = numbers[9:11]
        self.i_max_ma = numbers[11:]


def energy(record):
    """A Record as (kind, 56 bytes). Counters have 32 bits: 4.29 GWh."""
    numbers = [record.from_s, record.to_s]
    numbers += record.imp_wh + record.exp_wh + [record.net_imp_wh, record.net_exp_wh]
    numbers += record.i_max_ma
    numbers = [_NONE if number is None else number for number in numbers]
    return ENERGY, struct.pack(_LAYOUT, record.seq, *numbers)


def event(payload):
    """An event's payload (JSON text) as (kind, bytes)."""
    return EVENT, payload.encode()


def message(kind, data, late):
    """(name of the topic, payload) of what the backlog holds."""
    if kind == EVENT:
        payload = data.decode()
        return "event", payload[:-1] + ',"late":true}' if late else payload
    numbers = [None if n == _NONE else n for n in struct.unpack(_LAYOUT, data)]
    return "energy", protocol.energy_payload(_Record(numbers), late)
