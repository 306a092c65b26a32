"""The page an installer meets. No answer ever contains a password or the PIN.

GET  /             the form            POST /connect    ssid, password: answers, then tries
GET  /status       what came of it     GET  /status.json
GET  /wiring       live values         GET  /live.json
POST /scan         search again        GET  /scan.json
Any other path or host, the probes of phones included: 302 to the form.
"""

import json

from microdot import Microdot, Response

from cloud.protocol import measurement_payload
from provisioning import form, rendering
from provisioning.access_point import ADDRESS

HOME = "http://" + ADDRESS + "/"

_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'self'; connect-src 'self'; "
    "img-src data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_REASONS = {200: "OK", 400: "Bad Request", 403: "Forbidden"}
_FOLLOW = '<noscript><meta http-equiv="refresh" content="%d;url=%s"></noscript>'
_RING = '<div class="ring %s">%s</div>'


class Routes:
    """`app` is the Microdot app."""

    def __init__(self, *, link, identity, settings, meter, uplink, folder=None):
        self._link = link
        self._identity = identity
        self._settings = settings
        self._meter = meter
        self._uplink = uplink
        self._folder = folder or __file__.rpartition("/")[0] + "/"
        self._said = (None, None, None)  # language, reason, its words
        self.app = app = Microdot()
        app.before_request(self._lead_home)
        app.errorhandler(404)(self._elsewhere)
        app.get("/")(self._form)
        app.post("/connect")(self._connect)
        app.get("/status")(self._status)
        app.get("/status.json")(self._status_json)
        app.get("/wiring")(self._wiring)
        app.get("/live.json")(self._live_json)
        app.post("/scan")(self._scan)
        app.get("/scan.json")(self._scan_json)
        app.get("/portal.js")(self._script)
        # A reload after a submit, a bookmark: nothing to see there.
        app.get("/connect")(self._elsewhere)
        app.get("/scan")(self._elsewhere)

    async def _lead_home(self, request):
        name, colon, port = request.headers.get("Host", ADDRESS).partition(":")
        # A simulated board's portal stands on a port of the loopback interface.
        if name in (ADDRESS, "127.0.0.1", "localhost") and (not colon or port.isdigit()):
            return None
        return await self._elsewhere(request)

    async def _elsewhere(self, request):
        # What makes phones open the portal: their probe is answered, but not as they expect.
        headers = {"Location": HOME, "Cache-Control": "no-store"}
        return Response("Amp Guard: " + HOME + "\n", 302, headers, "Found")

    # JSON

    async def _status_json(self, request):
        state, reason, ip = self._link.trial
        if reason:
            language = self._language(request)
            if self._said[:2] != (language, reason):
                words = rendering.Words(self._folder, language)
                self._said = (language, reason, words[reason])
                words.close()
            reason = self._said[2]
        return _json(
            json.dumps({"state": state, "reason": reason, "ip": ip, "cloud": self._uplink.state})
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

    async def _live_json(self, request):
        measurement = self._meter.last
        payload = measurement_payload(measurement) if measurement else "null"
        return _json('{"measurement": %s, "findings": []}' % payload)

    # Pages

    async def _form(self, request):
        return self._form_page(request)

    async def _connect(self, request):
        if not _from_own_page(request):
            return self._form_page(request, 403, "err_origin")
        try:
            ssid, password, agreed = form.chosen(request.form or {})
        except ValueError:  # percent signs that encode nothing, or no UTF-8
            return self._form_page(request, 400, "err_form")
        secured = None
        for network in self._link.scan_results:
            if network[0] == ssid:
                secured = network[2]
        complaint = form.complaint(ssid, password, secured, agreed)
        if complaint:
            return self._form_page(request, 400, complaint, ssid)
        self._link.try_wifi(ssid, password)
        return await self._status(request)

    def _form_page(self, request, status=200, complaint=None, ssid=None):
        link = self._link
        words = self._words(request)
        picked = (link.trial_ssid if ssid is None else ssid) or ""
        listed = any(network[0] == picked for network in link.scan_results)
        values = {
            "page": "form",
            "refresh": "",
            "notes": self._notes(words, complaint),
            "rows": rendering.network_rows(link.scan_results, picked, words),
            "typing": " open" if picked and not listed else "",
            "typed": "" if listed else rendering.escape(picked),
        }
        return self._page(request, "form", words, values, status)

    def _notes(self, words, complaint):
        state, reason, ip = self._link.trial
        kind, title, text = "good", "", ""
        if complaint:
            kind, title = "bad", words[complaint]
            if complaint == "open_warning":
                kind = "warn"
                text = (
                    '<label><input type="checkbox" name="open" value="yes">%s</label>'
                    % (words["open_agree"])
                )
        elif state == "failed":
            kind, title, text = "bad", words[reason], words[reason + "_help"]
        elif self._link.interface == "lan":
            title, text = words["on_lan"], words["on_lan_hint"]
        elif self._link.interface:
            title, text = self._on_wifi(words), words["address"] % ip
        elif state == "connecting":
            title = words["trying"] % self._tried()
            kind, text = "warn", words[reason] if reason else ""
        if not title:
            yield "<p>%s</p>" % words["intro"]
        else:
            yield '<div class="note %s" role="status"><p>%s</p><p>%s</p></div>' % (
                kind,
                title,
                text,
            )

    async def _status(self, request):
        link = self._link
        words = self._words(request)
        state = link.trial[0]
        cloud, _, fault = self._uplink.state.partition(":")
        settled = state in ("failed", "idle") or (state == "online" and cloud == "online")
        values = {
            "page": "status",
            "state": state + " " + cloud,
            "refresh": "" if settled else _FOLLOW % (2, "/status"),
            "outcome": self._outcome(words, cloud, fault.strip()),
        }
        return self._page(request, "status", words, values)

    def _outcome(self, words, cloud, fault):
        state, reason, ip = self._link.trial
        ring, to, go = ("warn", "?"), "/", "connect"
        if state == "connecting":
            ring, to = ("wait", ""), ""
            title = words["connecting"] % self._tried()
            text = words["connecting_hint"] % self._identity.ssid
        elif state == "failed":
            ring, go = ("bad", "!"), "again"
            title, text = words[reason], words[reason + "_help"]
        elif state == "online":
            ring, to, go = ("good", "✓"), "/wiring", "see_wiring"
            title = words["on_lan"] if self._link.interface == "lan" else self._on_wifi(words)
            text = words["address"] % ip
            if cloud == "failed":
                text += '</p><div class="note warn"><p>%s</p><p>%s</p></div><p>' % (
                    words["cloud_failed"] % rendering.escape(fault),
                    words["cloud_help"],
                )
            elif cloud != "off":
                text += "</p><p>" + words["cloud_" + cloud]
        else:
            title, text = words["idle"], words["idle_hint"]
        yield '<section class="card state" role="status">' + _RING % ring
        yield "<h1>%s</h1><p>%s</p></section>" % (title, text)
        if to:
            yield '<a class="go" href="%s">%s</a>' % (to, words[go])

    async def _scan(self, request):
        if not _from_own_page(request):
            return self._form_page(request, 403, "err_origin")
        self._link.request_scan()
        words = self._words(request)
        values = {
            "page": "scan",
            "refresh": '<meta http-equiv="refresh" content="5;url=/">',
            "outcome": '<section class="card state" role="status">%s<h1>%s</h1><p>%s</p></section>'
            % (_RING % ("wait", ""), words["searching"], words["searching_hint"]),
        }
        return self._page(request, "status", words, values)

    async def _wiring(self, request):
        words = self._words(request)
        measurement = self._meter.last
        values = {
            "page": "wiring",
            "refresh": _FOLLOW % (3, "/wiring"),
            "phases": rendering.phases(measurement, words),
            "stale": " hidden" if measurement else "",
        }
        return self._page(request, "wiring", words, values)

    async def _script(self, request):
        headers = {"Content-Type": "application/javascript", "Cache-Control": "max-age=300"}
        lines = rendering.lines(self._folder + "pages/portal.js")
        return Response(lines, headers=headers, reason="OK")

    def _page(self, request, name, words, values, status=200):
        language = self._language(request)
        here = "at_wiring" if name == "wiring" else "at_wifi"
        for key in ("state", "at_wifi", "at_wiring"):
            values.setdefault(key, "")
        values[here] = ' aria-current="page"'
        values["lang"] = language
        values["digits"] = self._identity.digits
        values["languages"] = rendering.languages(language)
        headers = {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Security-Policy": _POLICY,
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        }
        if _chosen_language(request):
            headers["Set-Cookie"] = "lang=%s; Path=/; SameSite=Lax" % language
        body = rendering.page(self._folder, ("top", name, "bottom"), words, values)
        return Response(body, status, headers, _REASONS[status])

    # What they are made of

    def _words(self, request):
        return rendering.Words(self._folder, self._language(request))

    def _language(self, request):
        get = request.headers.get
        return _chosen_language(request) or rendering.language_of(
            get("Cookie", ""), get("Accept-Language", "")
        )

    def _on_wifi(self, words):
        return words["on_wifi"] % rendering.escape(self._settings.wifi_ssid or "")

    def _tried(self):
        return rendering.escape(self._link.trial_ssid or "")


def _chosen_language(request):
    by_hand = request.args.get("lang")
    return by_hand if by_hand in rendering.LANGUAGES else None


def _from_own_page(request):
    get = request.headers.get
    return form.from_own_page(get("Host", ADDRESS), get("Origin", ""), get("Referer", ""))


def _json(text):
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    return Response(text, headers=headers, reason="OK")
