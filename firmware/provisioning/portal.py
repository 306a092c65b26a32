"""The captive portal's life: it is there while the access point is, and costs nothing after.

In: the parts it shows and asks. While the access point is open it answers on 192.168.251.1:80
(routes.py) and :53 (dns.py). Its code is a third of the firmware: what listens is loaded with the
access point, what answers while somebody asks, and dropped again a moment after. Where there is no
room for it beside a connection to the broker, it is brief (brief.py).
"""

import asyncio
import gc
import sys

from micropython import const

from device.unloading import is_free, room, unload
from provisioning.access_point import ADDRESS
from provisioning.web import PACKET

_LOOK_S = 0.5
_ASIDE_MS = const(1500)  # without memory for a report or an answer, until it does not listen
_REST = const(5)  # looks after an attempt to open that found no memory
_STEPS = const(10)  # of brief answers between two looks
_QUIET = const(10)  # looks without a phone until what answers is let go of
# Bytes that the modules of _TO_ANSWER take, but Microdot, which is there by then.
_ROUTES = 13_000 if sys.maxsize >> 32 else 9_000
# Bytes that listening takes, a little for the meter and the uplink, and then an answer.
_LISTEN = _ROUTES + (24_000 if sys.maxsize >> 32 else 14_000)
_BRIEF = 8_000 if sys.maxsize >> 32 else 5_000  # bytes that the brief answers take
_TO_LISTEN = ("provisioning.dns", "provisioning.web")
_TO_ANSWER = ("microdot", "provisioning.words", "provisioning.rendering", "provisioning.routes")
_TO_BE_BRIEF = ("provisioning.words", "provisioning.brief")


class Portal:
    def __init__(self, *, access_point, socket, time, **parts):
        """`parts` go to routes.Routes."""
        self._access_point = access_point
        self._socket = socket
        self._time = time
        self._parts = parts
        self._site = None  # routes.Routes while somebody asks
        self._buffer = None  # while the access point is open: no other piece is as large
        self._short_ms = None  # since when no request was answered for want of memory

    async def run(self, alive=None):
        """The task. `alive` is called twice a second, but not while the portal can't open: where
        that lasts, a restart is the better way, unless the device is online without it."""
        while True:
            try:
                if not self._access_point.active:
                    self._buffer = None
                else:
                    await self._serve(alive)
                if alive:
                    alive()
                await asyncio.sleep(_LOOK_S)
            except (MemoryError, OSError):  # no room, or no socket
                await self._be_brief(alive)

    async def _serve(self, alive):
        if self._starving(0):
            raise MemoryError
        room(_LISTEN)
        self._short_ms = None
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
            while self._access_point.active:
                if self._starving(_ASIDE_MS) or self._passed(self._short_ms, _ASIDE_MS):
                    raise MemoryError
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

    async def _be_brief(self, alive):
        """Nobody listens for a while: each attempt takes the meter's time, and who calls the
        broker needs the memory. Then only how it stands is said, until there is room for more."""
        for _ in range(_REST):
            self._live_without(alive)
            await asyncio.sleep(_LOOK_S)
        brief = None
        try:
            uplink = self._parts["uplink"]
            while self._access_point.active and uplink.unheard_ms is None and not is_free(_LISTEN):
                if not brief:
                    room(_BRIEF)
                    from provisioning.brief import Brief  # noqa: PLC0415 (see above)

                    self._buffer = self._buffer or bytearray(PACKET)
                    address = (ADDRESS, 80)
                    brief = Brief(self._socket, self._time, address, self._buffer, **self._parts)
                for _ in range(_STEPS):
                    brief.step()
                    await asyncio.sleep(_LOOK_S / _STEPS)
                self._live_without(alive)
        except (MemoryError, OSError):
            pass
        finally:
            if brief:
                brief.close()
            brief = Brief = None  # type: ignore[assignment, misc]
            unload(*_TO_BE_BRIEF)

    def _live_without(self, alive):
        if alive and (self._parts["uplink"].state == "online" or self._starving(0)):
            alive()

    def _starving(self, ms):
        """Whether the reports have found no memory for so long: they go before pages."""
        return self._passed(self._parts["uplink"].starved_ms, ms)

    def _passed(self, since_ms, ms):
        if since_ms is None:
            return False
        return self._time.ticks_diff(self._time.ticks_ms(), since_ms) >= ms

    def _respond(self, request):
        try:
            if self._starving(0):
                raise MemoryError
            if not self._site:
                room(_ROUTES)
                from provisioning import routes  # noqa: PLC0415 (see above)

                self._site = routes.Routes(**self._parts)
            self._short_ms = None
        except MemoryError:
            self._let_go()
            if self._short_ms is None:
                self._short_ms = self._time.ticks_ms()
            raise
        return self._site.respond(request)

    def _rest(self):
        if self._site:
            self._site.let_go()

    def _let_go(self):
        self._site = None
        unload(*_TO_ANSWER)
