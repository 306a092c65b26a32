"""The installer: picks the access point, is led to the page, fills in its form, waits.

In: what the air shows of the access point, the building's network, a phone. Out: each step in
words. The installer knows the label of the device and nothing of its insides.
"""

import asyncio
import json
import re
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sim.phone import Phone, PhoneError, read_form, words_of

PROBE = "connectivitycheck.gstatic.com"  # Android's; answers 204 in the real world
PORTAL = "http://192.168.251.1/"
_ONLINE_S = 60  # the patience of somebody on a ladder
_LOOK_S = 0.5


@dataclass(frozen=True)
class AccessPoint:
    """A network as a phone's list shows it; `key` is what it takes to join."""

    ssid: str
    security: str
    key: str


class Installer:
    """Brings one device onto the building's network; `say` gets each step in words."""

    def __init__(
        self,
        pin: str,
        network: tuple[str, str],
        phone: Phone,
        say: Callable[[str], None],
    ) -> None:
        self._pin = pin
        self._ssid, self._password = network
        self._phone = phone
        self._say = say

    async def install(self) -> str:
        """All that follows joining: returns the device's address; PhoneError says what stops."""
        url, page = await self._open_page()
        form = read_form(page, url)
        extra = sorted(form.fields.keys() - {"ssid", "password"})
        self._say(
            f"reads the form: ssid, password{', hidden ' + ', '.join(extra) if extra else ''}"
        )
        form.fields |= {"ssid": self._ssid, "password": self._password}
        for name, limit in form.limits.items():
            if len(form.fields[name]) > limit:
                raise PhoneError(f"the form takes only {limit} characters for {name}")
        if form.method != "post":
            raise PhoneError("the form would show the password in the address bar (GET)")
        self._say(f"submits the form: {self._ssid} and its password")
        answer = await self._phone.submit(form, url)
        if answer.status >= 400:
            raise PhoneError(f"the form is refused: {answer.status} {words_of(answer.body)}")
        return await self._follow(url)

    def join(self, access_point: AccessPoint) -> None:
        """Picks the network from the list and types the PIN. PhoneError as the phone says it."""
        ssid = access_point.ssid
        if not re.fullmatch(r"Amp Guard_[0-9]{5}", ssid):
            raise PhoneError(
                f"no network named Amp Guard_ and five digits in the list, but {ssid!r}"
            )
        if access_point.security != "WPA2":
            raise PhoneError(
                f"{ssid} is {access_point.security or 'open'}, the label promises WPA2: not joined"
            )
        if access_point.key != self._pin:
            raise PhoneError(f"{ssid}: wrong password (the PIN on the label is not its key)")
        self._say(f"joins {ssid} (WPA2) with the PIN")

    async def _open_page(self) -> tuple[str, str]:
        """The connectivity check every phone makes; it must end at the device's page."""
        address = await self._phone.resolve(PROBE)
        if address != urllib.parse.urlsplit(PORTAL).hostname:
            raise PhoneError(f"{PROBE} is {address} here: the page can't be reached")
        self._say(f"looks up {PROBE}: {address}, the device")
        page = await self._phone.get(f"http://{PROBE}/generate_204", patient=True)
        if page.status == 204:
            self._say(f"sees no sign-in page (204) and opens {PORTAL} by hand")
            page = await self._phone.get(PORTAL)
        elif page.status == 200:
            self._say(f"is led to the page {page.url}")
        if page.status != 200:
            raise PhoneError(f"{page.url} answers {page.status} {words_of(page.body)}")
        return page.url, page.body

    async def _follow(self, url: str) -> str:
        """Watches /status.json to the end of the trial, which may drop the phone for a moment."""
        told = ""
        status_url = urllib.parse.urljoin(url, "/status.json")
        deadline = asyncio.get_running_loop().time() + _ONLINE_S
        fault = "no answer"
        while asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(_LOOK_S)
            try:
                page = await self._phone.get(status_url)
                status: Any = json.loads(page.body)
                state = status["state"]
            except PhoneError as e:
                fault = str(e)
                continue
            except (ValueError, TypeError, KeyError):
                raise PhoneError(
                    f"{status_url} is not the status: {words_of(page.body)}"
                ) from None
            if state == "online":
                self._say(f"sees it online at {status.get('ip')}: done")
                return str(status.get("ip"))
            if state == "failed":
                raise PhoneError(f"the page says: {status.get('reason')}")
            fault = f"still {state}"
            if state != told:
                told = state
                self._say(f"sees the device {state}")
        raise PhoneError(f"not online after {_ONLINE_S} s: {fault}")
