"""What the access point says while the heap has no room for pages: how it stands, nothing else.

In: connections on port 80. Out: /status.json as the portal has it, and to all else a page with the
same news in the reader's language, which asks again by itself. One phone at a time, a step between
two mains cycles; a tenth of the memory that pages take.
"""

import json
from errno import EAGAIN

from micropython import const

from provisioning.words import Words, escape, language_of

_HEAD = const(2048)  # bytes of a request
_PIECE = const(512)  # bytes read at a time
_PATIENCE_MS = const(2000)  # for a request to arrive whole
_ANSWER = "HTTP/1.0 200 OK\r\nCache-Control: no-store\r\nContent-Type: %s\r\n\r\n%s"
_PAGE = (
    '<!doctype html><html lang="%s"><meta charset="utf-8"><meta name="viewport" '
    'content="width=device-width"><meta http-equiv="refresh" content="3;url=/status">'
    '<link rel="stylesheet" href="/portal.css"><title>Amp Guard</title><main>'
    '<section class="card state" role="status"><h1>%s</h1><p>%s</p><p>%s</p></section></main>'
)


class Brief:
    """`link`, `uplink` and `settings` say how it stands. OSError: the address is not there."""

    def __init__(self, socket, time, address, *, link, uplink, settings, **_):
        self._time = time
        self._link = link
        self._uplink = uplink
        self._settings = settings
        self._phone = None  # the connection that is listened to
        self._since_ms = 0
        self._head = b""  # what it has said so far
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
            piece = self._phone.recv(_PIECE)
            self._head += piece
            whole = b"\r\n\r\n" in self._head
            if whole:
                self._phone.send(self._answer(self._head.decode()))
            elif piece and len(self._head) < _HEAD:
                return
        except OSError as error:
            now_ms = self._time.ticks_ms()
            waited_ms = self._time.ticks_diff(now_ms, self._since_ms)
            if error.errno == EAGAIN and (self._phone is None or waited_ms < _PATIENCE_MS):
                return
        except (MemoryError, UnicodeError, IndexError):
            pass  # it comes again by itself, or asked for nothing
        self._hang_up()

    def _hang_up(self):
        self._head = b""
        if self._phone is not None:
            self._phone.close()
            self._phone = None

    def _answer(self, head):
        language = language_of(_header(head, "cookie"), _header(head, "accept-language"))
        words = Words(__file__.rpartition("/")[0] + "/", language)
        try:
            if head.split(" ", 2)[1] == "/status.json":
                return (_ANSWER % ("application/json", self._status(words))).encode()
            heading, first, second = self._news(words)
            page = _PAGE % (language, heading, first, second)
            return (_ANSWER % ("text/html; charset=utf-8", page)).encode()
        finally:
            words.close()

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


def _header(head, name):
    """The value of a request's header, "" if there is none."""
    start = head.lower().find("\r\n%s:" % name)
    if start < 0:
        return ""
    start += len(name) + 3
    return head[start : head.find("\r\n", start)]
