"""A source of alternating voltage and current for the bench, spoken to in SCPI over TCP; what it
puts out is what the simulated plant carries. Listens on 127.0.0.1.

    source = ScpiSource(plant, changed)      # changed(): the plant's waves are others now
    await source.start(port)                 # 0: a free one; source.port
    VOLT 230; CURR 20; PHAS 60; FREQ 50; OUTP ON; MEAS:VOLT? MEAS:CURR? MEAS:PHAS? MEAS:FREQ?

or, for a person, beside a running simulator:

    make sim ARGS="--repl /tmp/board"
    .venv/bin/python -m sim.scpi_source          # listens on 5025, turns the plant over --control

All three phases carry the same, 120 degrees apart, as of a three-phase source. With its output
off there is neither voltage nor current. Errors wait in SYST:ERR?, as SCPI-1999 has them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import urllib.request
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

_NO_ERROR = '0,"No error"'
_LIMITS = {"VOLT": (0.0, 300.0), "CURR": (0.0, 600.0), "PHAS": (-180.0, 180.0), "FREQ": (45, 65)}


class Settable(Protocol):
    """What it drives: sim.plant.Plant."""

    def set(self, **fields: Any) -> None: ...


class ScpiSource:
    """See the head of this file."""

    def __init__(self, plant: Settable, changed: Callable[[], None] = lambda: None) -> None:
        self._plant, self._changed = plant, changed
        self.set_to = {"VOLT": 0.0, "CURR": 0.0, "PHAS": 0.0, "FREQ": 50.0}
        self.on = False
        self.port = 0
        self._errors: deque[str] = deque(maxlen=20)
        self._server: asyncio.Server | None = None

    async def start(self, port: int = 0) -> None:
        """OSError if the port is taken."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server:
            self._server.close()

    def answer(self, line: str) -> str | None:
        """The answer to one line, None where there is none."""
        words = line.strip()
        head, _, value = words.partition(" ")
        head = head.upper()
        if head == "*IDN?":
            return "Amp Guard,Simulated source,0,1.0"
        if head == "*OPC?":
            return "1"
        if head == "SYST:ERR?":
            return self._errors.popleft() if self._errors else _NO_ERROR
        if head == "*RST":
            self.set_to = {"VOLT": 0.0, "CURR": 0.0, "PHAS": 0.0, "FREQ": 50.0}
            self._switch(False)
        elif head == "OUTP":
            self._switch(value.strip().upper() in ("ON", "1"))
        elif head in self.set_to:
            self._store(head, value)
        elif head.startswith("MEAS:") and head[5:-1] in self.set_to and head.endswith("?"):
            live = self.on or head[5:-1] in ("PHAS", "FREQ")
            return f"{self.set_to[head[5:-1]] if live else 0.0:.5E}"
        elif head:
            self._errors.append('-113,"Undefined header"')
        return None

    def _store(self, name: str, value: str) -> None:
        try:
            number = float(value)
        except ValueError:
            self._errors.append('-104,"Data type error"')
            return
        low, high = _LIMITS[name]
        if not low <= number <= high:
            self._errors.append('-222,"Data out of range"')
            return
        self.set_to[name] = number
        self._put_out()

    def _switch(self, on: bool) -> None:
        self.on = on
        self._put_out()

    def _put_out(self) -> None:
        volts, amperes = self.set_to["VOLT"], self.set_to["CURR"]
        if not self.on:
            volts = amperes = 0.0
        self._plant.set(
            u=[volts] * 3,
            i=[amperes] * 3,
            phi=[self.set_to["PHAS"]] * 3,
            f=self.set_to["FREQ"],
        )
        self._changed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                said = self.answer(line.decode(errors="replace"))
                if said is not None:
                    writer.write(said.encode() + b"\n")
                    await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


class RemotePlant:
    """The plant of a running simulator, over its control server."""

    def __init__(self, control: int) -> None:
        self._url = f"http://127.0.0.1:{control}/plant"

    def set(self, **fields: Any) -> None:
        """OSError if nobody is there or it refuses."""
        request = urllib.request.Request(self._url, json.dumps(fields).encode(), method="PUT")
        with urllib.request.urlopen(request, timeout=10):
            pass


async def _beside(control: int, port: int) -> None:
    source = ScpiSource(RemotePlant(control))
    await source.start(port)
    print(f"a SCPI source on 127.0.0.1:{source.port}, for tools/calibrate.py --scpi", flush=True)
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="scpi_source", description=(__doc__ or "").split(".")[0])
    parser.add_argument("--control", type=int, default=8252, help="the simulator's (8252)")
    parser.add_argument("--port", type=int, default=5025, help="where it listens (5025)")
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_beside(options.control, options.port))


if __name__ == "__main__":
    main()
