"""The page an installer meets. No answer ever contains a password or the PIN.

GET  /             the form            POST /connect    ssid, password: answers, then tries
GET  /status       what came of it     GET  /status.json
GET  /wiring       live values         GET  /live.json
POST /wiring       the clamps' places, or the kind of site
POST /scan         search again        GET  /scan.json
GET  /details      what this device is POST /restart    POST /forget
GET  /provider     where values go     POST /provider   POST /ca    answer, then try
Any other path or host, the probes of phones included: 302 to the form.

What is asked for every second is answered here. A page is a module of its own, page_*.py, loaded
when asked for, in place of the last one, and let go with the last connection where heap is short.
"""

import json
import sys

from cloud.protocol import measurement_payload
from device.unloading import is_free, room, unload
from provisioning import rendering
from provisioning.access_point import ADDRESS
from provisioning.web import Response
from provisioning.words import LANGUAGES, Words, escape, language_of

HOME = "http://" + ADDRESS + "/"

_GET = "GET"
_POST = "POST"
_PAGES = {
    _GET: {"": "form", "status": "status", "wiring": "wiring", "details": "details",
           "provider": "provider"},
    _POST: {"connect": "form", "scan": "form", "restart": "details", "forget": "details",
            "provider": "provider", "ca": "provider", "wiring": "wiring"},
}  # fmt: skip
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_REASONS = {200: "OK", 302: "Found", 303: "See Other", 400: "Bad Request", 403: "Forbidden",
            405: "Method Not Allowed"}  # fmt: skip
# What a page takes while it is made, and a little for the meter and the uplink: rather no
# page than no measurement. On the board a word has four bytes.
_RESERVE = 14_000 if sys.maxsize >> 32 else 7_000


class Routes:
    """`respond(request)` is the Response to a request. `parts` are the attributes that the pages
    use: link, identity, settings, meter, uplink, info, supervisor, restart, ssl, ca_path."""

    def __init__(self, *, link, identity, settings, meter, uplink, folder=None, **parts):
        self.link = link
        self.identity = identity
        self.settings = settings
        self.meter = meter
        self.uplink = uplink
        for name, part in parts.items():
            setattr(self, name, part)
        self._folder = folder or __file__.rpartition("/")[0] + "/"
        self._said = (None, None, None)  # language, reason, its words
        self._loaded = {}  # the pages asked for, or the last one where heap is short

    def respond(self, request):
        self.link.asked = True
        host, colon, port = request.headers.get("Host", ADDRESS).partition(":")
        # A simulated board's portal stands on a port of the loopback interface.
        if host not in (ADDRESS, "127.0.0.1", "localhost") or (colon and not port.isdigit()):
            return self._elsewhere(request)
        name = request.path[1:]
        method = _GET if request.method == "HEAD" else request.method
        if method not in _PAGES:
            return answer("", 405)
        if method == _GET:
            if name == "status.json":
                return self._status_json(request)
            if name == "live.json":
                return self._live_json()
            if name == "scan.json":
                return _json(json.dumps([
                    {"ssid": ssid, "rssi": rssi, "secured": secured}
                    for ssid, rssi, secured in self.link.scan_results
                ]))  # fmt: skip
            if name in ("portal.js", "portal.css"):
                return self.stream(name)
        page = _PAGES[method].get(name)
        if page:
            try:
                if page not in self._loaded:
                    self._make_room()
                    self._loaded[page] = _load(page)
                return self._loaded[page](self, request, name)
            except (MemoryError, ImportError):  # ImportError: half loaded by the uplink's thread
                self._loaded.clear()
                raise MemoryError
        if method == _POST and (name in _PAGES[_GET] or "." in name):
            return answer("", 405)
        return self._elsewhere(request)

    def _make_room(self):
        """Room for the code of a page, where need be in place of others'. MemoryError: there is
        none."""
        if self._is_short():
            self._loaded.clear()
            room(_RESERVE)

    def let_go(self):
        """Nobody waits for a page. The last one stays where there is room, for who leafs on."""
        if self._is_short():
            self._loaded.clear()

    def _is_short(self):
        return not is_free(2 * _RESERVE)

    def _elsewhere(self, request):
        # What makes phones open the portal: their probe is answered, but not as they expect.
        # By hand, on a page that answers a form: its own address is none to get.
        language = _chosen_language(request)
        to = HOME + "?lang=" + language if language else HOME
        return answer("Amp Guard: " + HOME + "\n", 302, {"Location": to})

    def _status_json(self, request):
        state, reason, ip = self.link.trial
        if reason:
            language = self.language(request)
            if self._said[:2] != (language, reason):
                words = self.words(request)
                self._said = (language, reason, words[reason])
                words.close()
            reason = self._said[2]
        said = {"state": state, "reason": reason, "ip": ip, "cloud": self.uplink.state}
        trial = self.uplink.trial
        if trial:
            said["provider"] = trial.state
        return _json(json.dumps(said))

    def _live_json(self):
        measurement = self.meter.last
        payload = measurement_payload(measurement) if measurement else "null"
        return _json('{"measurement": %s, %s}' % (payload, self.found()))

    # For the pages

    def found(self):
        """What is known of the clamps, as members of a JSON object: of /live.json, and of the
        wiring page, whose script so sees when the page is no longer true."""
        found = self.meter.wiring.state
        return '"findings": %s, "clamps": %s, "settled": %s' % (
            json.dumps(found["findings"] or []),
            json.dumps(found["clamps"]),
            json.dumps(found["findings"] is not None),
        )

    def page(self, request, name, words, values, status=200, *, here="wifi"):
        """The Response that streams pages/<name>.html with `values` and `words` filled in."""
        language = words.language
        for key in ("state", "refresh", "at_wifi", "at_wiring", "at_details"):
            values.setdefault(key, "")
        values.setdefault("page", name)
        values["at_" + here] = ' aria-current="page"'
        values["lang"] = language
        values["digits"] = self.identity.digits
        values["languages"] = rendering.languages(language)
        headers = {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Security-Policy": _POLICY,
            "X-Content-Type-Options": "nosniff",
        }
        if _chosen_language(request):
            headers["Set-Cookie"] = "lang=%s; Path=/; SameSite=Lax" % language
        body = rendering.page(self._folder, ("top", name, "bottom"), words, values)
        return answer(body, status, headers)

    def stream(self, name):
        headers = {
            "Content-Type": "text/css" if name[-3:] == "css" else "text/javascript",
            "Cache-Control": "max-age=3600",
        }
        return answer(rendering.pieces(self._folder + "pages/" + name), 200, headers)

    def words(self, request):
        return Words(self._folder, self.language(request))

    def language(self, request):
        get = request.headers.get
        return _chosen_language(request) or language_of(
            get("Cookie", ""), get("Accept-Language", "")
        )

    def on_wifi(self, words):
        return words["on_wifi"] % escape(self.settings.wifi_ssid or "")

    def tried(self):
        return escape(self.link.trial_ssid or "")


def answer(body, status, headers=None):
    """A Response; nothing of the portal is kept by a phone unless `headers` allow it."""
    headers = headers or {}
    headers.setdefault("Cache-Control", "no-store")
    return Response(body, status, headers, _REASONS[status])


def from_own_page(request):
    """May this post change something? Only from the page's own origin, or from a client that
    names none at all.

    Browsers always name the origin of a form they post, so another site can't get past this;
    "null" is what a site sends that hides behind a sandbox.
    """
    get = request.headers.get
    own = "http://" + get("Host", ADDRESS)
    origin = get("Origin", "")
    referer = get("Referer", "")
    if origin:
        return origin == own
    return not referer or referer.startswith(own + "/")


def _load(page):
    """The function answer(site, request, name) of page_<page>.py; nobody else keeps it."""
    path = "provisioning.page_" + page
    module = __import__(path, None, None, ("answer",))
    unload(path)
    return module.answer


def _chosen_language(request):
    by_hand = request.args.get("lang")
    return by_hand if by_hand in LANGUAGES else None


def _json(text):
    return answer(text, 200, {"Content-Type": "application/json"})
