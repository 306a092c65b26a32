"""A phone that has joined the device's access point: its DNS client, its browser, its form.

In: where the board's HTTP and DNS appear on the host. Out: pages and forms as a browser has them,
or a PhoneError in the words its owner would read.
"""

import asyncio
import contextlib
import http.client
import re
import secrets
import socket
import struct
import urllib.parse
from dataclasses import dataclass, field
from html.parser import HTMLParser

_PHONE = "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 Chrome/126.0 Mobile"
_TIMEOUT_S = 5
_TRIES = 5
_PAUSE_S = 1
_HOPS = 5


class PhoneError(Exception):
    """What the person holding the phone would be told."""


@dataclass
class Form:
    """A form as it stands in the page: where it goes and what it sends by itself."""

    action: str
    method: str
    names: set[str] = field(default_factory=set)
    fields: dict[str, str] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)


class _FormReader(HTMLParser):
    """Collects the forms of a page with the values a browser would submit."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._open = False
        self._select: str | None = None
        self._option: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        a = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(a.get("action", ""), a.get("method", "get").lower()))
            self._open = True
        if not self._open or "disabled" in a:
            return
        form, name = self.forms[-1], a.get("name", "")
        kind = a.get("type", "text").lower()
        if tag in ("input", "select", "textarea") and name:
            form.names.add(name)
        if tag == "select":
            self._select = name
        elif tag == "option" and self._select:
            if self._select not in form.fields or "selected" in a:
                form.fields[self._select] = a.get("value", "")
        elif tag in ("input", "textarea") and name:
            if kind in ("checkbox", "radio"):
                if "checked" in a:
                    form.fields[name] = a.get("value", "on")
            elif kind not in ("submit", "button", "reset", "image", "file"):
                form.fields[name] = a.get("value", "")
                if a.get("maxlength", "").isdigit():
                    form.limits[name] = int(a["maxlength"])

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._open = False
        elif tag == "select":
            self._select = None


def read_form(page: str, url: str) -> Form:
    """The form that asks for `ssid` and `password`, its action absolute. PhoneError if none."""
    reader = _FormReader()
    reader.feed(page)
    for form in reader.forms:
        if {"ssid", "password"} <= form.names:
            form.action = urllib.parse.urljoin(url, form.action)
            return form
    raise PhoneError(f"the page at {url} has no form with ssid and password")


@dataclass
class Page:
    """What a URL answered."""

    url: str
    status: int
    headers: dict[str, str]
    body: str


class Phone:
    """A phone that has joined the device's access point: its DNS and its browser."""

    def __init__(self, portal_port: int, dns_port: int) -> None:
        self._portal_port = portal_port
        self._dns_port = dns_port
        self._cookies: dict[str, str] = {}

    async def resolve(self, name: str) -> str:
        """The IPv4 address the board's DNS gives for a name. PhoneError without an answer."""
        for _ in range(_TRIES):
            with contextlib.suppress(OSError):
                return await asyncio.to_thread(self._ask, name)
            await asyncio.sleep(_PAUSE_S)
        raise PhoneError(f"the device's DNS does not answer for {name}")

    def _ask(self, name: str) -> str:
        number = secrets.randbelow(65536)
        labels = b"".join(bytes((len(part),)) + part.encode() for part in name.split("."))
        question = labels + b"\0" + struct.pack("!2H", 1, 1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(2)
            s.connect(("127.0.0.1", self._dns_port))
            s.send(struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + question)
            reply = s.recv(1500)
        found, flags, _, answers, *_ = struct.unpack_from("!6H", reply)
        tail = reply[12 + len(question) :]
        if found != number or not flags & 0x8000 or flags & 15 or not answers or len(tail) < 16:
            raise PhoneError(f"the device's DNS has no address for {name}")
        kind, of_class, _, size = struct.unpack_from("!2HIH", tail, 2)
        if (kind, of_class, size) != (1, 1, 4):
            raise PhoneError(f"the device's DNS gives something else than an address for {name}")
        return socket.inet_ntoa(tail[12:16])

    async def get(self, url: str, patient: bool = False) -> Page:
        """Follows redirects as a browser does; a patient phone tries again without an answer."""
        tries = _TRIES if patient else 1
        for _ in range(_HOPS):
            page = await self._got(url, tries)
            if page.status not in (301, 302, 303, 307, 308):
                return page
            url = urllib.parse.urljoin(url, page.headers.get("location", ""))
        raise PhoneError(f"{url} leads round in circles")

    async def _got(self, url: str, tries: int) -> Page:
        while True:
            try:
                return await asyncio.to_thread(self._request, "GET", url, None, {})
            except PhoneError:
                tries -= 1
                if not tries:
                    raise
            await asyncio.sleep(_PAUSE_S)

    async def submit(self, form: Form, page_url: str) -> Page:
        """Sends a form from its page, headers as a browser sets them."""
        body = urllib.parse.urlencode(form.fields)
        origin = "{0.scheme}://{0.netloc}".format(urllib.parse.urlsplit(page_url))
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Origin": origin,
            "Referer": page_url,
        }
        page = await asyncio.to_thread(self._request, "POST", form.action, body, headers)
        if page.status in (301, 302, 303):
            return await self.get(urllib.parse.urljoin(form.action, page.headers["location"]))
        return page

    def _request(self, method: str, url: str, body: str | None, extra: dict[str, str]) -> Page:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme != "http" or parts.port not in (None, 80):
            raise PhoneError(f"led to {url}, which can't be reached through the access point")
        path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        headers = {"Host": parts.netloc, "User-Agent": _PHONE, "Accept": "*/*", **extra}
        if self._cookies:
            headers["Cookie"] = "; ".join(f"{k}={v}" for k, v in self._cookies.items())
        connection = http.client.HTTPConnection("127.0.0.1", self._portal_port, timeout=_TIMEOUT_S)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            text = answer.read().decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as e:
            raise PhoneError(f"{method} {url}: no answer ({e or type(e).__name__})") from e
        finally:
            connection.close()
        for cookie in answer.headers.get_all("Set-Cookie", []):
            name, _, value = cookie.split(";")[0].partition("=")
            self._cookies[name.strip()] = value.strip()
        return Page(url, answer.status, {k.lower(): v for k, v in answer.headers.items()}, text)


def words_of(html: str) -> str:
    """The start of a page's text, for a sentence."""
    text = re.sub(r"<(style|script|title).*?</\1>|<[^>]*>", " ", html, flags=re.S)
    return " ".join(text.split())[:100]
