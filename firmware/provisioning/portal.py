"""The captive portal's life: it is there while the access point is, and costs nothing after.

In: the parts it shows and asks. While the access point is open it answers on 192.168.251.1:80
(routes.py) and :53 (dns.py). Its code is a third of the firmware: what listens is loaded with the
access point, what answers while somebody asks, and dropped again a moment after.
"""

import asyncio
import gc
import sys

from micropython import const

from device.unloading import room, unload
from provisioning.access_point import ADDRESS
from provisioning.web import PACKET

_LOOK_S = 0.5
_ASIDE_MS = const(1500)  # without memory for a report, until it does not even listen
_QUIET = const(10)  # looks without a phone until what answers is let go of
# Bytes that listening takes, and a little for the meter and the uplink.
_LISTEN = 24_000 if sys.maxsize >> 32 else 14_000
# Bytes that they take: each module of _TO_ANSWER but Microdot, which is there by then.
_ROUTES = 13_000 if sys.maxsize >> 32 else 9_000
_TO_LISTEN = ("provisioning.dns", "provisioning.web")
_TO_ANSWER = ("microdot", "provisioning.rendering", "provisioning.routes")


class Portal:
    def __init__(self, *, access_point, socket, time, **parts):
        """`parts` go to routes.Routes."""
        self._access_point = access_point
        self._socket = socket
        self._time = time
        self._parts = parts
        self._site = None  # routes.Routes while somebody asks
        self._buffer = None  # while the access point is open: no other piece is as large

    async def run(self, alive=None):
        """The task. `alive` is called twice a second, but not while the portal can't open: where
        that lasts, a restart is the better way, unless the device is online without it."""
        while True:
            try:
                if not self._access_point.active:
                    self._buffer = None
                elif not self._starving(0):
                    await self._serve(alive)
                if alive:
                    alive()
                await asyncio.sleep(_LOOK_S)
            except (MemoryError, OSError):  # no room, or no socket: soon again
                if alive and self._parts["uplink"].state == "online":
                    alive()
                await asyncio.sleep(5 * _LOOK_S)  # each attempt takes the meter's time

    async def _serve(self, alive):
        room(_LISTEN)
        server = names = answering = None
        quiet = 0
        try:
            self._buffer = self._buffer or bytearray(PACKET)
            from provisioning import dns, web  # noqa: PLC0415 (see above)

            socket = self._socket
            server = web.Server(
                self._respond, self._time, self._rest, self._parts["meter"], self._buffer
            )
            names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            names.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            names.bind((ADDRESS, 53))
            names.setblocking(False)
            answering = asyncio.create_task(dns.serve(names, ADDRESS))
            await server.start((ADDRESS, 80))
            while self._access_point.active and not self._starving(_ASIDE_MS):
                server.expire()
                if answering.done():
                    await answering  # raises what ended it
                if alive:
                    alive()
                quiet = 0 if server.connections else quiet + 1
                if quiet == _QUIET:
                    self._let_go()
                    gc.collect()
                await asyncio.sleep(_LOOK_S)
        finally:
            if server:
                server.stop()
            if answering:
                answering.cancel()
            if names:
                names.close()
            server = dns = web = None  # type: ignore[assignment]
            self._let_go()
            uplink = self._parts["uplink"]
            if uplink.trial and uplink.trial.state == "failed":
                uplink.trial = None  # nobody is there to read of it
            unload(*_TO_LISTEN)
            gc.collect()

    def _starving(self, ms):
        """Whether the reports have found no memory for so long: they go before pages."""
        since_ms = self._parts["uplink"].starved_ms
        time = self._time
        return since_ms is not None and time.ticks_diff(time.ticks_ms(), since_ms) >= ms

    def _respond(self, request):
        if self._starving(0):
            self._let_go()
            raise MemoryError
        if not self._site:
            room(_ROUTES)
            try:
                from provisioning import routes  # noqa: PLC0415 (see above)
            except MemoryError:
                self._let_go()
                raise
            self._site = routes.Routes(**self._parts)
        return self._site.respond(request)

    def _rest(self):
        if self._site:
            self._site.let_go()

    def _let_go(self):
        self._site = None
        unload(*_TO_ANSWER)
