"""The air around the board: the radio, the cable, the router, and who has the time.

In: `Air(...)`, `air.set(wifi="down")`. Out: two files that the stand-ins read, once attached to a
running board's folder:

air.bin, 64 bytes, rewritten in place, little-endian:

| at | what |
|---|---|
| 0 | magic "AGAI" |
| 4 | u32 generation of plant.bin (24 bits used) |
| 8 | u8 wifi: 1 the networks are on the air |
| 9 | u8 lan: 1 the cable is in |
| 10 | u8 internet, all beyond the building's router: 0 up, 1 refused, 2 blackhole |
| 11 | u8 dns: 0 up, 1 dead |
| 12 | u8 button: 1 pressed |
| 13 | u8 ntp: 0 up, 1 dead |
| 14 | u8 stations joined to the board's access point |
| 15 | u8 0 at power-on; the running program is interrupted when it becomes another |
| 16 | u8 dhcp: 0 up, 1 dead, and what was leased has run out |
| 20 | u24 seconds by which the world's clock differs from the host's, u8 1 = it is behind |

world.txt, replaced by rename, one entry a line, words without spaces:

    host <name> <ip>                          what the name server answers
    route <ip> <port> <host ip> <host port>   where that address really is
    lease wifi|lan <ip>                       what DHCP gives
    net <ssid hex> <key hex or -> <security> <channel> <rssi> <bssid hex> <hidden> <reason>
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OPEN, WPA, WPA2, WPA3 = 0, 2, 3, 6

_FORMAT = struct.Struct("<4sI9B3xI40x")
_CHOICES: dict[str, tuple[str, ...]] = {
    "wifi": ("down", "up"),
    "lan": ("down", "up"),
    "internet": ("up", "refused", "blackhole"),
    "dns": ("up", "dead"),
    "button": ("up", "pressed"),
    "ntp": ("up", "dead"),
    "dhcp": ("up", "dead"),
}


@dataclass(frozen=True)
class Network:
    """One access point in reach. `wrong_key_reason` is what a station is told that has another
    key: 202 (authentication failed), 15 (four-way handshake timed out) or 204."""

    ssid: str
    password: str = ""
    security: int = WPA2
    channel: int = 6
    rssi: int = -58
    hidden: bool = False
    wrong_key_reason: int = 202
    bssid: str = ""


BUILDING = Network("Hallonstigen 7", "smultron-och-mjolk")
NEIGHBOURS = (
    Network("Kiosken Gäst", security=OPEN, channel=1, rssi=-71),
    Network("Telia-8F21C0", "inte-ditt-natverk", channel=11, rssi=-79),
    Network("DIRECT-skrivare", "00000000", channel=6, rssi=-86, hidden=True),
)


@dataclass
class Air:
    """Everything outside the board that is not mains; the defaults are an ordinary house."""

    wifi: str = "up"
    lan: str = "down"
    internet: str = "up"
    dns: str = "up"
    button: str = "up"
    ntp: str = "up"
    dhcp: str = "up"
    stations: int = 0
    clock_offset_s: int = 0
    networks: tuple[Network, ...] = (BUILDING, *NEIGHBOURS)
    hosts: dict[str, str] = field(
        default_factory=lambda: {
            "broker.lan": "192.168.1.10",
            "pool.ntp.org": "198.51.100.123",
        }
    )
    routes: dict[tuple[str, int], tuple[str, int]] = field(default_factory=dict)
    wifi_ip: str = "192.168.1.57"
    lan_ip: str = "192.168.1.58"

    _folder: Path | None = field(default=None, repr=False)
    _generation: int = field(default=0, repr=False)
    _interrupts: int = field(default=0, repr=False)

    def __post_init__(self) -> None:
        self._check()

    def set(self, **changes: Any) -> None:
        """Changes fields by name, all or none; ValueError says which field and what it takes."""
        before = {name: getattr(self, name) for name in changes if name in _FIELDS}
        try:
            for name, value in changes.items():
                if name not in _FIELDS:
                    raise ValueError(f"{name}: no such field, expected one of {_FIELDS}")
                setattr(self, name, value)
            self._check()
        except ValueError:
            self.__dict__.update(before)
            raise
        self._write()

    def route(self, name: str, port: int, host: str, host_port: int) -> None:
        """What the board knows as `name`:`port` is really `host`:`host_port`.

        `name` may be an address; an unknown name gets one of its own.
        """
        if all(part.isdigit() for part in name.split(".")):
            address = name
        else:
            address = self.hosts.setdefault(name, f"192.0.2.{len(self.hosts) + 1}")
        self.routes[address, port] = (host, host_port)
        self._write()

    def attach(self, folder: Path) -> None:
        """From now on the two files live in `folder`."""
        self._folder = folder
        self._write()

    def detach(self) -> None:
        self._folder = None

    def new_plant(self) -> None:
        """Tells the board that plant.bin is another one."""
        self._generation = self._generation % 0xFFFFFF + 1
        self._write()

    def interrupts(self, number: int) -> None:
        """How often, modulo 256, programs were to raise KeyboardInterrupt since the VM began."""
        self._interrupts = number
        self._write()

    def _check(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                expected = " or ".join(choices)
                raise ValueError(f"{name}: expected {expected}, got {getattr(self, name)!r}")
        if not 0 <= self.stations <= 10:
            raise ValueError(f"stations: expected 0 to 10, got {self.stations!r}")
        if abs(self.clock_offset_s) > 0xFFFFFF:
            raise ValueError(f"clock_offset_s: too far, got {self.clock_offset_s!r}")

    def _write(self) -> None:
        if self._folder is None:
            return
        text = self._folder / "world.txt"
        new = text.with_suffix(".new")
        new.write_text("".join(line + "\n" for line in self._world()))
        os.replace(new, text)
        handle = os.open(self._folder / "air.bin", os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            os.pwrite(handle, self._bytes(), 0)
        finally:
            os.close(handle)

    def _bytes(self) -> bytes:
        *states, dhcp = (choices.index(getattr(self, name)) for name, choices in _CHOICES.items())
        offset = abs(self.clock_offset_s) | (0x1000000 if self.clock_offset_s < 0 else 0)
        return _FORMAT.pack(
            b"AGAI", self._generation, *states, self.stations, self._interrupts, dhcp, offset
        )

    def _world(self) -> Iterable[str]:
        yield f"lease wifi {self.wifi_ip}"
        yield f"lease lan {self.lan_ip}"
        for name, address in self.hosts.items():
            yield f"host {name} {address}"
        for (address, port), (host, host_port) in self.routes.items():
            yield f"route {address} {port} {host} {host_port}"
        for number, net in enumerate(self.networks):
            key = net.password.encode().hex() or "-"
            bssid = net.bssid or f"a4b1c2d3e4{number:02x}"
            yield (
                f"net {net.ssid.encode().hex()} {key} {net.security} {net.channel} {net.rssi} "
                f"{bssid} {int(net.hidden)} {net.wrong_key_reason}"
            )


_FIELDS = tuple(name for name in Air.__dataclass_fields__ if not name.startswith("_"))
