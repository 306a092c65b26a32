"""What the device is doing, told from outside: the events of its board and its messages.

In: events of the simulated board (dicts with `ev`) and MQTT messages. Out: `now`, one phrase for
what it is doing at this moment, lines worth telling, the access point in the air, heap figures.
"""

from typing import Any

from sim.installer import AccessPoint
from sim.message import Message

SECURITY = {0: "open", 2: "WPA", 3: "WPA2", 4: "WPA/WPA2", 6: "WPA3", 7: "WPA2/WPA3"}
_STALE_S = 10  # as consumers judge it
_REASONS = {
    8: "left",
    15: "handshake failed",
    200: "out of range",
    201: "network not found",
    202: "wrong password",
    203: "refused",
    204: "handshake failed",
    210: "security does not fit",
}
_RESETS = {1: "power-on", 2: "hard reset", 3: "watchdog", 4: "deep sleep", 5: "soft reset"}


class Story:
    """Follows one device from power-on to power-on."""

    def __init__(self, root: str) -> None:
        self._root = root
        self.access_point: AccessPoint | None = None
        self.address: str | None = None
        self.link = ""
        self.heap: dict[str, int] = {}
        self.standins = 0
        self.measurement: dict[str, Any] | None = None
        self.measured_t = 0.0
        self.status: dict[str, Any] = {}
        self.info: dict[str, Any] = {}
        self._words = "the power is off"

    def now(self, t: float) -> str:
        """What it is doing at host time `t`."""
        if self.measurement is not None and self.address and t - self.measured_t < _STALE_S:
            return f"online by {self.link} as {self.address}, publishing"
        if self.measurement is not None and self.address:
            return f"online by {self.link}, silent for {t - self.measured_t:.0f} s"
        return self._words

    def power(self, on: bool) -> None:
        """The power came or went: nothing of before is true any more."""
        self.access_point = self.address = self.measurement = None
        self._words = "booting" if on else "the power is off"

    def event(self, e: dict[str, Any]) -> str | None:
        """Takes an event of the board; returns what to tell about it, if anything."""
        tell = getattr(self, f"_on_{e.get('ev')}", None)
        return tell(e) if tell else None

    def message(self, m: Message) -> None:
        """Takes an MQTT message of this device."""
        payload = m.payload
        if not isinstance(payload, dict):
            return
        if m.topic == f"{self._root}/measurement":
            self.measurement, self.measured_t = payload, m.t
        elif m.topic == f"{self._root}/status":
            self.status = payload
        elif m.topic == f"{self._root}/info":
            self.info = payload

    def _on_second(self, e: dict[str, Any]) -> None:
        peak = max(self.heap.get("peak", 0), e.get("peak", 0))
        self.heap = {"in_use": e.get("in_use", 0), "peak": peak, "total": e.get("total", 0)}

    def _on_standins(self, e: dict[str, Any]) -> None:
        self.standins = e.get("bytes", 0)

    def _on_ap(self, e: dict[str, Any]) -> str | None:
        before = self.access_point
        if not e.get("active"):
            self.access_point = None
            return "closes its access point" if before else None
        security = SECURITY.get(e.get("security", 0), str(e.get("security")))
        self.access_point = AccessPoint(str(e.get("ssid")), security, str(e.get("key")))
        if self.access_point == before:
            return None
        self._words = f"waiting for the installer on {self.access_point.ssid}"
        return f"opens its access point {self.access_point.ssid} ({security})"

    def _on_sta(self, e: dict[str, Any]) -> str | None:
        if "connecting" in e:
            self._words = f"joining {e['connecting']}"
            return None
        if e.get("ip"):
            return self._on_address("Wi-Fi", e["ip"])
        if "lost" in e or "reason" in e:
            if self.link == "Wi-Fi":
                self.address = None
            code = e.get("lost", e.get("reason"))
            why = _REASONS.get(code, str(code)) if isinstance(code, int) else str(code)
            self._words = f"without Wi-Fi ({why})"
            return f"Wi-Fi: {why}" if "lost" in e else None
        return None

    def _on_lan(self, e: dict[str, Any]) -> str | None:
        if e.get("ip"):
            return self._on_address("LAN", e["ip"])
        if "ip" in e and self.link == "LAN":
            self.address = None
            self._words = "without LAN"
            return "the LAN is gone"
        return None

    def _on_address(self, link: str, address: str) -> str:
        self.link, self.address = link, address
        self._words = f"online by {link} as {address}, no measurement yet"
        return f"is on the network by {link}: {address}"

    def _on_power(self, e: dict[str, Any]) -> str:
        self.power(bool(e.get("on")))
        return "power on" if e.get("on") else "power off"

    def _on_reset(self, e: dict[str, Any]) -> str:
        self.power(True)
        cause = e.get("cause")
        return f"resets ({_RESETS.get(cause, str(cause)) if isinstance(cause, int) else cause})"

    def _on_died(self, e: dict[str, Any]) -> str:
        code = e.get("code")
        ended = f"signal {-code}" if isinstance(code, int) and code < 0 else f"code {code}"
        self._words = f"stopped: the VM ended with {ended}"
        self.measurement = None
        return f"the VM ended with {ended}"

    def _on_crash(self, e: dict[str, Any]) -> str:
        self._words = f"stopped: {e.get('file')} ended with {e.get('error')}"
        self.measurement = None
        return f"{e.get('file')} ended with {e.get('error')}"

    def _on_cut(self, e: dict[str, Any]) -> str:
        return f"loses power during write {e.get('at')} ({e.get('during')})"
