"""Energy counters that survive a power cut and never run backwards.

In: mean powers and how long they lasted, once a message. Out: a record a minute, after it is safe
on flash, so no consumer ever saw a count that a power cut can undo; what the cut costs is the
minute that was running. Import and export per phase, and net: the phases added up before they are
split.

Two slots are written in turn, each with a number and a CRC-32: whatever a cut leaves of one, the
other is whole. The higher number counts.

Flash wear. A slot of 76 bytes lies inline in its directory's metadata (LittleFS: files up to the
cache size, 128 bytes on the ESP32), which is a log: a save appends to it, and only a full block
is erased. That makes 0.033 erases a save (host_tests/test_metering_energy.py counts them on the
image's own LittleFS), 173,000 in the 5.3 million saves of ten years; every block is left after
100 erases (block_cycles), so that they spread over the free ones: 350 for each of 500, where NOR
flash is rated for 100,000. The folder is the counters' own, so that no other file's metadata is
rewritten.
"""

import os
import struct
from binascii import crc32

from micropython import const

_NJ_PER_MWH = 3_600_000_000  # mW * us = nJ
_LAYOUT = "<4sI8Q"
_MAGIC = b"AGE1"
_SIZE = const(76)
_MINUTE_MS = const(60_000)


class Record:
    """One minute. imp_wh, exp_wh: running counters per phase; net_imp_wh, net_exp_wh: those of
    the sum; i_max_ma: highest current of a cycle; from_s, to_s: Unix s, None before the clock is
    set.
    """

    __slots__ = (  # noqa: RUF023 (as in the docstring)
        "seq",
        "from_s",
        "to_s",
        "imp_wh",
        "exp_wh",
        "net_imp_wh",
        "net_exp_wh",
        "i_max_ma",
    )

    def __init__(self, seq, from_s, to_s, mwh, i_max_ma):
        self.seq = seq
        self.from_s = from_s
        self.to_s = to_s
        wh = [count // 1000 for count in mwh]
        self.imp_wh = wh[0:3]
        self.exp_wh = wh[3:6]
        self.net_imp_wh = wh[6]
        self.net_exp_wh = wh[7]
        self.i_max_ma = i_max_ma


class Energy:
    """seq: of the last record; problem: why the last load or save went wrong, or None."""

    def __init__(self, folder, *, time):
        self.problem = None
        self.seq = 0
        self._mwh = [0] * 8  # import of three phases, export of three, net import, net export
        self._rest_nj = [0] * 8
        self._i_max_ma = [None] * 3
        self._from_s = None
        self._time = time
        self._due_ms = time.ticks_add(time.ticks_ms(), _MINUTE_MS)
        self._slots = (folder + "/a", folder + "/b")
        self._next = 0
        try:
            os.mkdir(folder)
        except OSError:  # it is there already; if it can't be made, the first save will say so
            pass
        self._load()

    def add(self, p_mw, us, i_max_ma):
        """Count `us` of the mean powers `p_mw`; absent phases are None."""
        net = 0
        for phase in range(3):
            power = p_mw[phase]
            if power is not None:
                net += power
                self._count(phase, power, us)
            highest = i_max_ma[phase]
            if highest is not None:
                self._i_max_ma[phase] = max(highest, self._i_max_ma[phase] or 0)
        self._count(6, net, us)

    def _count(self, index, power, us):
        if power < 0:
            index += 3 if index < 3 else 1
            power = -power
        total = self._rest_nj[index] + power * us
        self._mwh[index] += total // _NJ_PER_MWH
        self._rest_nj[index] = total % _NJ_PER_MWH

    def minute(self, unix_ms):
        """The Record of a minute that is over and saved, else None. unix_ms: int or None."""
        now = self._time.ticks_ms()
        late = self._time.ticks_diff(now, self._due_ms)
        if late < 0:
            return None
        self._due_ms = self._time.ticks_add(self._due_ms, (late // _MINUTE_MS + 1) * _MINUTE_MS)
        try:
            self._save()
        except OSError as fault:  # flash full, say: keep counting, try again in a minute
            self.problem = "energy counters not saved: %s" % fault
            return None
        self.problem = None
        to_s = None if unix_ms is None else unix_ms // 1000
        record = Record(self.seq, self._from_s, to_s, self._mwh, self._i_max_ma)
        self._from_s = to_s
        self._i_max_ma = [None] * 3
        return record

    def _save(self):
        """Write the slot that does not hold the newest count; OSError leaves the other alone."""
        body = struct.pack(_LAYOUT, _MAGIC, self.seq + 1, *self._mwh)
        data = body + struct.pack("<I", crc32(body))
        with open(self._slots[self._next], "wb") as file:
            file.write(data)
        with open(self._slots[self._next], "rb") as file:
            if file.read() != data:
                raise OSError("%s did not read back as written" % self._slots[self._next])
        self.seq += 1
        self._next = 1 - self._next

    def _load(self):
        found = damaged = 0
        for slot in (0, 1):
            try:
                with open(self._slots[slot], "rb") as file:
                    data = file.read(_SIZE + 1)
            except OSError:
                continue
            if len(data) != _SIZE or crc32(data[:-4]) != struct.unpack("<I", data[-4:])[0]:
                damaged += 1
                continue
            fields = struct.unpack(_LAYOUT, data[:-4])
            found += 1
            if fields[0] == _MAGIC and fields[1] >= self.seq:
                self.seq = fields[1]
                self._mwh = list(fields[2:])
                self._next = 1 - slot
        if damaged and not found:
            self.problem = "energy counters: both copies damaged, counting from 0"
