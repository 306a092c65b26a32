"""HTTP on 127.0.0.1 through which people and tests turn the plant, the network and the power.

    GET  /plant   the plant's fields, and `truth`: what an ideal meter would say now
    PUT  /plant   {"i": [16, -10, 6], ...}: only the fields named change; answers as GET
    GET  /net     wifi, lan, internet, dns, dhcp, ntp, the board's button; the building's `ssid`
                  and `password`
    PUT  /net     {"wifi": "down", ...}: only the fields named change; answers as GET
    GET  /power   {"power": "on"} or {"power": "cut"}
    POST /power   cut or on: as text, as {"do": "cut"}, {"power": "cut"} or /power?do=cut

What it can't make sense of is a 400 with {"error": what was expected} and changes nothing.
"""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from microdot import Microdot, Request

from sim.air import Air
from sim.plant import Plant

NET: dict[str, tuple[str, ...]] = {
    "wifi": ("up", "down"),
    "lan": ("up", "down"),
    "internet": ("up", "refused", "blackhole"),
    "dns": ("up", "dead"),
    "dhcp": ("up", "dead"),
    "ntp": ("up", "dead"),
    "button": ("up", "pressed"),
}
_POWER = ("cut", "on")


class Controlled(Protocol):
    """What the simulator lets itself be told."""

    plant: Plant
    air: Air
    network: tuple[str, str]  # SSID and password of the building

    @property
    def powered(self) -> bool: ...

    def plant_changed(self) -> None: ...

    async def cut(self) -> None: ...

    async def power_on(self) -> None: ...


class Control:
    """Serves on 127.0.0.1:`port` until stopped; `say` gets each change in words."""

    def __init__(self, port: int, simulation: Controlled, say: Callable[[str], None]) -> None:
        self.port = port
        self._simulation = simulation
        self._say = say
        self._power = asyncio.Lock()
        self._app = self._routes()
        self._server: Any = None

    async def start(self) -> None:
        """Listens. OSError if the port is taken."""
        await self._app.start_server("127.0.0.1", self.port, start_serving=False)
        self._server = self._app.server
        await self._server.start_serving()

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    def _routes(self) -> Microdot:
        app = Microdot()
        app.get("/plant")(lambda _: self._plant_state())
        app.get("/net")(lambda _: self._net_state())
        app.get("/power")(lambda _: self._power_state())
        app.put("/plant")(_refusing(self._put_plant))
        app.put("/net")(_refusing(self._put_net))
        app.post("/power")(_refusing(self._post_power))
        known = "expected GET or PUT of /plant and /net, GET or POST of /power"
        for code, words in (
            (404, f"no such path, {known}"),
            (405, f"no such method here, {known}"),
            (400, "malformed request"),
            (413, "too much at once"),
        ):
            app.errorhandler(code)(lambda _, code=code, words=words: ({"error": words}, code))
        return app

    def _plant_state(self) -> dict[str, Any]:
        plant = self._simulation.plant
        return plant.state() | {"truth": plant.truth()}

    def _net_state(self) -> dict[str, Any]:
        ssid, password = self._simulation.network
        state = {name: getattr(self._simulation.air, name) for name in NET}
        return state | {"ssid": ssid, "password": password}

    def _power_state(self) -> dict[str, str]:
        return {"power": "on" if self._simulation.powered else "cut"}

    async def _put_plant(self, request: Request) -> dict[str, Any]:
        changes = _object(request, "u, i, phi, f, ct, noise_lsb, harmonics")
        self._simulation.plant.set(**changes)
        self._simulation.plant_changed()
        self._say(f"the plant changes: {_told(changes)}")
        return self._plant_state()

    async def _put_net(self, request: Request) -> dict[str, Any]:
        changes = _object(request, ", ".join(NET))
        for name, value in changes.items():
            if name not in NET:
                raise ValueError(f"{name}: expected one of {', '.join(NET)}")
            if value not in NET[name]:
                raise ValueError(f"{name}: expected {' or '.join(NET[name])}, got {value!r}")
        self._simulation.air.set(**changes)
        self._say(f"the network changes: {_told(changes)}")
        return self._net_state()

    async def _post_power(self, request: Request) -> dict[str, str]:
        do = _power_word(request)
        async with self._power:
            if do == "cut" and self._simulation.powered:
                self._say("the power is cut")
                await self._simulation.cut()
            elif do == "on" and not self._simulation.powered:
                self._say("the power is back")
                await self._simulation.power_on()
        return self._power_state()


def _refusing(handler: Callable[[Request], Awaitable[Any]]) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Any:
        try:
            return await handler(request)
        except ValueError as e:
            return {"error": str(e)}, 400

    return answer


def _object(request: Request, fields: str) -> dict[str, Any]:
    """The request's JSON object. ValueError if it is something else."""
    try:
        body = json.loads(request.body or b"")
    except ValueError as e:
        raise ValueError(f"expected a JSON object with any of {fields}: {e}") from e
    if not isinstance(body, dict) or not body:
        raise ValueError(f"expected a JSON object with any of {fields}")
    return body


def _power_word(request: Request) -> str:
    """`cut` or `on`, however it was said."""
    word: Any = (request.body or b"").decode("utf-8", "replace").strip()
    with contextlib.suppress(ValueError):
        word = json.loads(word)
    if isinstance(word, dict):
        word = word.get("do", word.get("power"))
    elif isinstance(word, str) and "=" in word:
        word = word.partition("=")[2]
    word = word or request.args.get("do") or request.args.get("power")
    if word not in _POWER:
        raise ValueError('expected {"do": "cut"} or {"do": "on"}')
    return str(word)


def _told(changes: dict[str, Any]) -> str:
    return ", ".join(f"{name} {json.dumps(value)}" for name, value in changes.items())
