"""The captive portal's life: it is there while the access point is, and costs nothing after.

In: the parts it shows and asks. While the access point is open it answers on 192.168.251.1:80
(routes.py) and :53 (dns.py). Its code is a third of the firmware: it is loaded when needed and
dropped again when the access point closes.
"""

import asyncio
import gc
import sys

from provisioning.access_point import ADDRESS

_LOOK_S = 0.5
_LOADED = ("microdot",) + tuple(
    "provisioning." + name for name in ("dns", "rendering", "routes", "web")
)


class Portal:
    def __init__(self, *, access_point, socket, time, **parts):
        """`parts` go to routes.Routes."""
        self._access_point = access_point
        self._socket = socket
        self._time = time
        self._parts = parts

    async def run(self, alive=None):
        """The task. `alive` is called twice a second."""
        while True:
            if self._access_point.active:
                try:
                    await self._serve(alive)
                finally:
                    _unload()
            if alive:
                alive()
            await asyncio.sleep(_LOOK_S)

    async def _serve(self, alive):
        gc.collect()
        from provisioning import dns, routes, web  # noqa: PLC0415 (see above)

        socket = self._socket
        site = routes.Routes(**self._parts)
        server = web.Server(site.respond, self._time, site.let_go)
        names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        answering = None
        try:
            names.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            names.bind((ADDRESS, 53))
            names.setblocking(False)
            answering = asyncio.create_task(dns.serve(names, ADDRESS))
            await server.start((ADDRESS, 80))
            while self._access_point.active:
                server.expire()
                if answering.done():
                    await answering  # raises what ended it
                if alive:
                    alive()
                await asyncio.sleep(_LOOK_S)
            await server.stop()
        finally:
            if answering:
                answering.cancel()
            names.close()


def _unload():
    package = sys.modules.get("provisioning")
    for name in _LOADED:
        if sys.modules.pop(name, None) and package and "." in name:
            delattr(package, name.split(".")[1])
    gc.collect()
