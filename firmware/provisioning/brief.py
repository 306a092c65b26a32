"""What the access point says while the heap has no room for pages: how it stands, nothing else.

In: connections on port 80. Out: /status.json as the portal has it, and to all else a page with the
same news in the reader's language, which asks again by itself. One phone at a time, a step between
two mains cycles; a tenth of the memory that pages take.
"""

import json

from micropython import const

from provisioning.words import Words, escape, language_of

_PATIENCE_MS = const(2000)  # for it to arrive whole
_ANSWER = b"HTTP/1.0 200 OK\r\nCache-Control: no-store\r\nContent-Type: "
_JSON = b"application/json\r\n\r\n"
_HTML = b'text/html; charset=utf-8\r\n\r\n<!doctype html><html lang="'
_TOP = (
    b'"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    b'<meta http-equiv="refresh" content="3;url=/status">'
    b'<link rel="stylesheet" href="/portal.css">'
    b'<title>Amp Guard</title><main><section class="card state" role="status"><h1>'
)
_PARAGRAPH = b"</h1><p>"
_NEXT = b"</p><p>"
_BOTTOM = b"</p></section></main>"


class Brief:
    """`buffer`: a bytearray for what a phone says. `link`, `uplink`, `settings` say how it stands.
    OSError: the address is not there."""

    def __init__(self, socket, time, address, buffer, *, link, uplink, settings, **_):
        self._time = time
        self._link = link
        self._uplink = uplink
        self._settings = settings
        self._phone = None  # the connection that is listened to
        self._since_ms = 0
        self._head = buffer
        self._said = memoryview(buffer)
        self._size = 0  # bytes it has said
        self._door = socket.socket()
        self._door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._door.bind(address)
        self._door.listen(2)
        self._door.setblocking(False)

    def close(self):
        self._hang_up()
        self._door.close()

    def step(self):
        """Does what can be done without waiting."""
        try:
            if self._phone is None:
                self._phone, _ = self._door.accept()
                self._phone.setblocking(False)
                self._since_ms = self._time.ticks_ms()
            if self._hears():
                return
            if self._is_whole():
                self._answer()
        except (OSError, MemoryError, UnicodeError):
            pass  # nobody there, or gone; no room: it comes again by itself; or no text
        self._hang_up()

    def _hears(self):
        """Whether there is more to hear, now or soon."""
        size = self._phone.readinto(self._said[self._size :])  # type: ignore[union-attr]
        if size is None:
            waited_ms = self._time.ticks_diff(self._time.ticks_ms(), self._since_ms)
            return waited_ms < _PATIENCE_MS
        self._size += size
        return size and self._size < len(self._head) and not self._is_whole()

    def _is_whole(self):
        return self._head.find(b"\r\n\r\n", 0, self._size) >= 0

    def _hang_up(self):
        self._size = 0
        if self._phone is not None:
            self._phone.close()
            self._phone = None

    def _answer(self):
        """In small pieces: the heap may have no large one. The words come into the buffer too."""
        send = self._phone.send  # type: ignore[union-attr]
        script = self._head.find(b" /status.json ", 0, self._size) > 0
        language = language_of(self._header(b"Cookie"), self._header(b"Accept-Language"))
        words = Words(__file__.rpartition("/")[0] + "/", language, self._head)
        try:
            send(_ANSWER)
            if script:
                send(_JSON)
                send(self._status(words).encode())
                return
            heading, first, second = self._news(words)
            send(_HTML)
            send(language.encode())
            send(_TOP)
            send(heading.encode())
            send(_PARAGRAPH)
            send(first.encode())
            send(_NEXT)
            send(second.encode())
            send(_BOTTOM)
        finally:
            words.close()

    def _header(self, name):
        """The value of the request's header, "" if there is none."""
        head = self._head
        for spelt in (name, name.lower()):
            start = head.find(b"\r\n%s: " % spelt, 0, self._size)
            if start >= 0:
                start += len(spelt) + 4
                return bytes(self._said[start : head.find(b"\r\n", start, self._size)]).decode()
        return ""

    def _status(self, words):
        state, reason, ip = self._link.trial
        reason = reason and words[reason]
        said = {"state": state, "reason": reason, "ip": ip, "cloud": self._uplink.state}
        return json.dumps(said)

    def _news(self, words):
        """(heading, address or what to do, how it stands with the load balancer)"""
        state, reason, ip = self._link.trial
        if state == "connecting":
            return words["connecting"] % escape(self._link.trial_ssid or ""), "", ""
        if state != "online":
            return words[reason or state], words[reason + "_help"] if reason else "", ""
        if self._link.interface == "lan":
            title = words["online_by_lan"]
        else:
            title = words["on_wifi"] % escape(self._settings.wifi_ssid or "")
        cloud = self._uplink.state.partition(":")[0]
        key = "cloud_" + (cloud if cloud in ("online", "connecting") else "goes_on")
        return title, words["address"] % ip, words[key]
