"""Where the reference values come from: a person who types them, or a SCPI source or meter.

`set(point)` brings the reference to a point, as far as it can be set; `read(point)` returns what
it shows. `Scpi` speaks through PyVISA, to whatever a VISA resource name leads to:
TCPIP::192.168.1.20::5025::SOCKET (also written 192.168.1.20:5025), ASRL/dev/ttyUSB1::INSTR,
USB0::..., GPIB0::....
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from calibrating.readings import Point, Reference

# What a SCPI-1999 source of alternating current usually understands. A dialect file replaces any
# of them; null: the instrument has nothing of the kind, a person does it.
DIALECT: dict[str, str | None] = {
    "set_volts": "VOLT {volts:.3f}",
    "set_amperes": "CURR {amperes:.4f}",
    "set_lag": "PHAS {lag_deg:.3f}",
    "on": "OUTP ON",
    "off": "OUTP OFF",
    "volts": "MEAS:VOLT?",
    "amperes": "MEAS:CURR?",
    "lag": "MEAS:PHAS?",
}
_TIMEOUT_MS = 5000


class ReferenceFailed(Exception):
    """The words say what the instrument did not do."""


class Typed:
    """ask(words, default) -> what the person typed."""

    name = "values typed in"
    sets = False

    def __init__(self, ask: Callable[[str, str], str]) -> None:
        self._ask = ask

    def set(self, point: Point) -> None:
        """Nothing to do: the person was told."""

    def read(self, point: Point) -> Reference:
        volts = self._number("volts shown by the reference", point.volts)
        amperes = self._number("amperes shown by the reference", point.amperes)
        return Reference(volts, amperes, self._lag(point))

    def off(self) -> None:
        """The person turns it off."""

    def close(self) -> None:
        pass

    def _number(self, words: str, default: float) -> float:
        while True:
            said = self._ask(words, f"{default:g}").strip().replace(",", ".")
            try:
                value = float(said)
            except ValueError:
                value = -1.0
            if 0 < value < 10_000:
                return value

    def _lag(self, point: Point) -> float | None:
        while True:
            said = self._ask(
                "degrees that the current lags (leading: negative; - if not known)",
                f"{point.lag_deg:g}",
            )
            said = said.strip().replace(",", ".")
            if said == "-":
                return None
            with contextlib.suppress(ValueError):
                value = float(said)
                if -90 <= value <= 90:
                    return value


class Scpi:
    """See the head of this file. Its output is off when it is closed, whatever happened."""

    def __init__(self, resource: str, dialect: Path | None = None, settle_s: float = 1.0) -> None:
        self._settle_s = settle_s
        self._words = dict(DIALECT)
        if dialect:
            self._words |= dialect_of(dialect)
        import pyvisa  # noqa: PLC0415 (half a second that only this needs)

        name = resource
        if "::" not in resource:
            host, _, port = resource.rpartition(":")
            if not host or not port.isdecimal():
                raise ReferenceFailed(f"{resource}: expected a VISA resource name or HOST:PORT")
            name = f"TCPIP::{host}::{port}::SOCKET"
        self._fault: type[Exception] = pyvisa.Error
        try:
            self._manager = pyvisa.ResourceManager("@py")
            self._visa: Any = self._manager.open_resource(
                name, read_termination="\n", write_termination="\n", timeout=_TIMEOUT_MS
            )
        except (pyvisa.Error, OSError, ValueError) as error:
            raise ReferenceFailed(f"{resource}: {error}") from error
        self.name = self._query("*IDN?")
        self.sets = bool(self._words["set_volts"] and self._words["set_amperes"])

    def set(self, point: Point) -> None:
        values = {"volts": point.volts, "amperes": point.amperes, "lag_deg": point.lag_deg}
        for what in ("set_volts", "set_amperes", "set_lag"):
            self._say(self._words[what], **values)
        self._say(self._words["on"])
        if self.sets:
            self._query("*OPC?")
            self._check()
            time.sleep(self._settle_s)

    def read(self, point: Point) -> Reference:
        volts, amperes = self._number("volts"), self._number("amperes")
        if volts is None or amperes is None:
            raise ReferenceFailed(f"{self.name}: it can't be asked for volts and amperes")
        lag = self._number("lag")
        return Reference(volts, amperes, None if lag is None else (lag + 180) % 360 - 180)

    def off(self) -> None:
        self._say(self._words["off"])
        if self.sets:
            self._query("*OPC?")  # or the connection's end might overtake it

    def close(self) -> None:
        with contextlib.suppress(ReferenceFailed):
            self.off()
        with contextlib.suppress(self._fault, OSError):
            self._visa.close()
            self._manager.close()

    def _say(self, words: str | None, **values: float) -> None:
        if words:
            try:
                self._visa.write(words.format(**values))
            except (self._fault, OSError) as error:
                raise ReferenceFailed(f"{words}: {error}") from error

    def _query(self, words: str) -> str:
        try:
            return str(self._visa.query(words)).strip()
        except (self._fault, OSError) as error:
            raise ReferenceFailed(f"no answer to {words} ({error})") from error

    def _number(self, what: str) -> float | None:
        words = self._words[what]
        if not words:
            return None
        said = self._query(words)
        try:
            return float(said.split(",")[0])
        except ValueError as error:
            raise ReferenceFailed(f"{words} was answered with {said!r}, not a number") from error

    def _check(self) -> None:
        said = self._query("SYST:ERR?")
        if not said.lstrip("+").startswith("0"):
            raise ReferenceFailed(f"{self.name} says {said}")


def dialect_of(file: Path) -> dict[str, str | None]:
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise ReferenceFailed(f"--dialect {file}: {error}") from error
    if not isinstance(found, dict) or not set(found) <= set(DIALECT):
        raise ReferenceFailed(f"--dialect {file}: expected any of {', '.join(DIALECT)}")
    return found
