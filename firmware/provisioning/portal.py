"""The captive portal: the page an installer meets, on the access point and nowhere else.

In: link, identity, meter, uplink, settings. Out: the routes below while the access point is open,
with the DNS that leads every name to them. No answer ever contains a password or the PIN.

GET  /             the form            POST /connect    ssid, password: answers, then tries
GET  /status       what came of it     GET  /status.json
GET  /wiring       live values         GET  /live.json
POST /scan         search again        GET  /scan.json
Any other path or host, the probes of phones included: 302 to the form.
"""

import asyncio
import json

from microdot import Microdot, Request, Response

from cloud.protocol import measurement_payload
from provisioning import dns, form, pages
from provisioning.access_point import ADDRESS
from provisioning.web import Server

HOME = "http://" + ADDRESS + "/"

_HTML = "text/html; charset=utf-8"
_LOOK_S = 0.5

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'self'; "
    "connect-src 'self'; img-src data:; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
}


class Portal:
    def __init__(
        self, *, link, access_point, identity, settings, meter, uplink, socket, time, folder=None
    ):
        self._link = link
        self._access_point = access_point
        self._identity = identity
        self._settings = settings
        self._meter = meter
        self._uplink = uplink
        self._socket = socket
        if folder is None:
            folder = __file__.rsplit("/", 1)[0] + "/" if "/" in __file__ else ""
        self._folder = folder
        self._pages = pages.Pages(folder)
        self._said = (None, None, None)  # language, reason, its words
        Request.max_body_length = Server.max_body
        self.server = Server(self._routes(), time)

    async def run(self, alive=None):
        """The task: serves while the access point is active. `alive` is called twice a second."""
        while True:
            if self._access_point.active:
                await self._serve(alive)
            if alive:
                alive()
            await asyncio.sleep(_LOOK_S)

    async def _serve(self, alive):
        socket = self._socket
        names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        answering = None
        try:
            names.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            names.bind((ADDRESS, 53))
            names.setblocking(False)
            answering = asyncio.create_task(dns.serve(names, ADDRESS))
            await self.server.start((ADDRESS, 80))
            while self._access_point.active:
                self.server.expire()
                if answering.done():
                    await answering  # raises what ended it
                if alive:
                    alive()
                await asyncio.sleep(_LOOK_S)
            await self.server.stop()
        finally:
            if answering:
                answering.cancel()
            names.close()
            self._pages.forget()

    # Routes

    def _routes(self):
        app = Microdot()
        app.before_request(self._lead_home)
        app.errorhandler(404)(self._elsewhere)
        app.get("/")(self._form)
        app.post("/connect")(self._connect)
        app.get("/connect")(self._elsewhere)
        app.get("/status")(self._status)
        app.get("/status.json")(self._status_json)
        app.get("/scan.json")(self._scan_json)
        app.post("/scan")(self._scan)
        app.get("/scan")(self._elsewhere)
        app.get("/wiring")(self._wiring)
        app.get("/live.json")(self._live_json)
        app.get("/portal.js")(self._script)
        return app

    async def _lead_home(self, request):
        if not _is_own(request.headers.get("Host", ADDRESS)):
            return _redirect()
        return None

    async def _elsewhere(self, request):
        return _redirect()

    async def _form(self, request):
        language, headers = self._language(request)
        return self._form_page(language, headers=headers)

    async def _connect(self, request):
        language, _ = self._language(request)
        host = request.headers.get("Host", ADDRESS)
        origin = request.headers.get("Origin", "")
        if not form.from_own_page(host, origin, request.headers.get("Referer", "")):
            return self._form_page(language, status=403, complaint="err_origin")
        try:
            ssid, password, agreed = form.chosen(request.form or {})
        except ValueError:  # percent signs that encode nothing, or no UTF-8
            return self._form_page(language, status=400, complaint="err_form")
        complaint = form.complaint(ssid, password, self._secured(ssid), agreed)
        if complaint:
            return self._form_page(language, status=400, complaint=complaint, ssid=ssid)
        self._link.try_wifi(ssid, password)
        return self._status_page(language, {})

    async def _status(self, request):
        language, headers = self._language(request)
        return self._status_page(language, headers)

    async def _status_json(self, request):
        language, _ = self._language(request)
        state, reason, ip = self._link.trial
        return _json(
            json.dumps(
                {
                    "state": state,
                    "reason": self._reason(language, reason),
                    "ip": ip,
                    "cloud": self._uplink.state if self._uplink else None,
                }
            )
        )

    async def _scan_json(self, request):
        return _json(
            json.dumps(
                [
                    {"ssid": ssid, "rssi": rssi, "secured": secured}
                    for ssid, rssi, secured in self._link.scan_results
                ]
            )
        )

    async def _scan(self, request):
        language, _ = self._language(request)
        host = request.headers.get("Host", ADDRESS)
        origin = request.headers.get("Origin", "")
        if not form.from_own_page(host, origin, request.headers.get("Referer", "")):
            return self._form_page(language, status=403, complaint="err_origin")
        self._link.request_scan()
        words = self._pages.words(language)
        return self._page(
            "status.html",
            language,
            {
                "page": "scan",
                "refresh": '<meta http-equiv="refresh" content="5;url=/">',
                "ring": _WAITING,
                "headline": words["searching"],
                "details": "<p>%s</p>" % words["searching_hint"],
                "action": "",
            },
        )

    async def _wiring(self, request):
        language, headers = self._language(request)
        words = self._pages.words(language)
        measurement = self._meter.last if self._meter else None
        return self._page(
            "wiring.html",
            language,
            {
                "page": "wiring",
                "title": words["nav_wiring"],
                "refresh": '<noscript><meta http-equiv="refresh" content="3"></noscript>',
                "phases": pages.phases(measurement, words),
                "age": "" if measurement else words["no_values"],
            },
            headers,
        )

    async def _live_json(self, request):
        measurement = self._meter.last if self._meter else None
        payload = measurement_payload(measurement) if measurement else "null"
        return _json('{"measurement": %s, "findings": []}' % payload)

    async def _script(self, request):
        headers = {"Content-Type": "application/javascript", "Cache-Control": "max-age=300"}
        return Response(open(self._folder + "pages/portal.js", "rb"), headers=headers)

    # Pages

    def _form_page(self, language, *, status=200, complaint=None, ssid=None, headers=None):
        words = self._pages.words(language)
        picked = self._link.trial_ssid if ssid is None else ssid
        listed = any(network[0] == picked for network in self._link.scan_results)
        return self._page(
            "form.html",
            language,
            {
                "page": "form",
                "refresh": "",
                "notes": self._notes(words, complaint),
                "rows": pages.network_rows(self._link.scan_results, picked, words),
                "typing": "" if listed or not picked else " open",
                "typed": "" if listed or not picked else pages.escape(picked),
                "agreement": _agreement(words) if complaint == "open_warning" else "",
            },
            headers,
            status,
        )

    def _notes(self, words, complaint):
        link = self._link
        state, reason, ip = link.trial
        if complaint == "open_warning":
            return ""  # the agreement in the form says it
        if complaint:
            return pages.note("bad", words[complaint])
        if state == "failed":
            return pages.note("bad", words[reason], words[reason + "_help"])
        if link.interface == "lan":
            return pages.note("good", words["on_lan"], words["on_lan_hint"])
        if link.interface == "wifi":
            name = pages.escape(self._settings.wifi_ssid or "")
            return pages.note("good", words["on_wifi"] % name, words["address"] % ip)
        if state == "connecting":
            name = pages.escape(link.trial_ssid or "")
            return pages.note("warn", words["trying"] % name, reason and words[reason])
        return "<p>%s</p>" % words["intro"]

    def _status_page(self, language, headers):
        link = self._link
        words = self._pages.words(language)
        state, reason, ip = link.trial
        cloud = self._uplink.state if self._uplink else "off"
        cloud_state, _, fault = cloud.partition(":")
        ring, action = _WAITING, ""
        if state == "connecting":
            headline = words["connecting"] % pages.escape(link.trial_ssid or "")
            details = "<p>%s</p>" % words["connecting_hint"] % self._identity.ssid
        elif state == "failed":
            ring = '<div class="ring bad">!</div>'
            headline = words[reason]
            details = "<p>%s</p>" % words[reason + "_help"]
            action = _button("/", words["again"])
        elif state == "online":
            ring = '<div class="ring good">✓</div>'
            headline = words["online"]
            details = "<p>%s</p>" % self._where(words, ip)
            if cloud_state == "failed":
                fault = pages.escape(fault.strip())
                details += "".join(
                    pages.note("warn", words["cloud_failed"] % fault, words["cloud_help"])
                )
            elif cloud_state != "off":
                details += (
                    "<p>%s</p>"
                    % words["cloud_online" if cloud_state == "online" else "cloud_connecting"]
                )
            action = _button("/wiring", words["see_wiring"])
        else:
            ring = '<div class="ring warn">?</div>'
            headline = words["idle"]
            details = "<p>%s</p>" % words["idle_hint"]
            action = _button("/", words["connect"])
        settled = state in ("failed", "idle") or (state == "online" and cloud_state == "online")
        follow = '<noscript><meta http-equiv="refresh" content="2;url=/status"></noscript>'
        return self._page(
            "status.html",
            language,
            {
                "page": "status",
                "state": state + " " + cloud_state,
                "refresh": "" if settled else follow,
                "ring": ring,
                "headline": headline,
                "details": details,
                "action": action,
            },
            headers,
        )

    def _where(self, words, ip):
        if self._link.interface == "lan":
            return words["on_lan"] + "<br>" + words["address"] % ip
        name = pages.escape(self._settings.wifi_ssid or "")
        return words["on_wifi"] % name + "<br>" + words["address"] % ip

    def _page(self, name, language, values, headers=None, status=200):
        values["digits"] = self._identity.digits
        values.setdefault("state", "")
        sent = dict(_HEADERS)
        sent["Content-Type"] = _HTML
        sent.update(headers or {})
        reason = _REASONS.get(status)
        return Response(self._pages.page(name, language, values), status, sent, reason)

    # What the requests need

    def _language(self, request):
        """(language, headers that keep a choice made by hand)"""
        by_hand = request.args.get("lang") if request.args else None
        if by_hand in pages.LANGUAGES:
            kept = "lang=%s; Path=/; Max-Age=31536000; SameSite=Lax" % by_hand
            return by_hand, {"Set-Cookie": kept}
        cookie = request.headers.get("Cookie", "")
        return pages.language_of(cookie, request.headers.get("Accept-Language", "")), {}

    def _reason(self, language, reason):
        if reason is None:
            return None
        if self._said[:2] != (language, reason):
            self._said = (language, reason, self._pages.words(language)[reason])
        return self._said[2]

    def _secured(self, ssid):
        for name, _, secured in self._link.scan_results:
            if name == ssid:
                return secured
        return None


_REASONS = {400: "Bad Request", 403: "Forbidden"}
_WAITING = '<div class="ring wait"></div>'


def _button(to, words):
    return '<a class="go" href="%s">%s</a>' % (to, words)


def _agreement(words):
    yield '<div class="note warn" role="alert"><p>%s</p>' % words["open_warning"]
    yield (
        '<label><input type="checkbox" name="open" value="yes">%s</label></div>'
        % (words["open_agree"])
    )


def _is_own(host):
    name, colon, port = host.partition(":")
    # A simulator's portal stands on a port of the loopback interface.
    return name in (ADDRESS, "127.0.0.1", "localhost") and (not colon or port.isdigit())


def _redirect():
    # What makes phones open the portal: their probe is answered, but not as they expect.
    headers = {"Location": HOME, "Cache-Control": "no-store"}
    return Response("Amp Guard: " + HOME + "\n", 302, headers, "Found")


def _json(text):
    return Response(
        text, headers={"Content-Type": "application/json", "Cache-Control": "no-store"}
    )
