"""The form: which Wi-Fi, which password. Checked before anything is tried, answered before the
radio moves."""

from micropython import const

from provisioning import rendering
from provisioning.routes import from_own_page
from provisioning.words import escape

_SHOWN = const(6)  # networks that are listed at once; the others are one tap away
LONGEST_PASSWORD = 30  # what the radio's firmware takes safely; the settings hold the same limit


def complaint(ssid, password, secured, agreed):
    """Checks a name, a password, `secured` (True, False or None = the network was not seen) and
    `agreed` (the open network's warning was ticked). Returns a key of provisioning/text or None.
    """
    if not ssid:
        return "err_ssid_empty"
    if len(ssid.encode()) > 32:
        return "err_ssid_long"
    if any(letter < " " or letter == "\x7f" for letter in ssid):
        return "err_ssid_odd"
    if not password:
        if secured:
            return "err_needs_password"
        return None if agreed else "open_warning"
    if any(not " " <= letter <= "~" for letter in password):
        return "err_password_odd"
    if len(password) < 8:
        return "err_password_short"
    if len(password) > LONGEST_PASSWORD:
        return "err_password_long"
    return "err_no_password" if secured is False else None


def chosen(fields):
    """(ssid, password, agreed) out of the form's fields, anything with get(name, default).

    A typed name wins over a picked one: without script both may be there.
    """
    ssid = fields.get("ssid", "") or fields.get("pick", "")
    return ssid, fields.get("password", ""), fields.get("open", "") == "yes"


def answer(site, request, name):
    if not name:
        return _page(site, request)
    if not from_own_page(request):
        return _page(site, request, 403, "err_other_origin")
    return _search(site, request) if name == "scan" else _connect(site, request)


def _connect(site, request):
    try:
        ssid, password, agreed = chosen(request.form or {})
    except ValueError:  # percent signs that encode nothing, or no UTF-8
        return _page(site, request, 400, "err_unreadable_form")
    secured = None
    for network in site.link.scan_results:
        if network[0] == ssid:
            secured = network[2]
    fault = complaint(ssid, password, secured, agreed)
    if fault:
        return _page(site, request, 400, fault, ssid)
    site.link.try_wifi(ssid, password)
    site.uplink.trial = None  # what came of a provider's is not asked any more
    words = site.words(request)
    values = {
        "page": "status",
        "state": "connecting",
        "refresh": rendering.follow(2, "/status"),
        "outcome": rendering.state(
            "wait",
            "",
            words["connecting"] % site.tried(),
            words["connecting_hint"] % site.identity.ssid,
        ),
    }
    return site.page(request, "status", words, values)


def _search(site, request):
    site.link.request_scan()
    words = site.words(request)
    values = {
        "page": "scan",
        "refresh": '<meta http-equiv="refresh" content="5;url=/">',
        "outcome": rendering.state("wait", "", words["searching_now"], words["searching_hint"]),
    }
    return site.page(request, "status", words, values)


def _page(site, request, status=200, fault=None, ssid=None):
    link = site.link
    words = site.words(request)
    picked = (link.trial_ssid if ssid is None else ssid) or ""
    listed = any(network[0] == picked for network in link.scan_results)
    values = {
        "notes": _notes(site, words, fault),
        "rows": _rows(link.scan_results, picked, words),
        "typing_open": " open" if picked and not listed else "",
        "typed_before": "" if listed else escape(picked),
    }
    return site.page(request, "form", words, values, status)


def _notes(site, words, fault):
    link = site.link
    state, reason, ip = link.trial
    if fault == "open_warning":
        tick = '<label><input type="checkbox" name="open" value="yes">%s</label>'
        yield rendering.note("warn", words[fault], tick % words["open_agreement"])
        return
    if fault:
        yield rendering.note("bad", words[fault], "")
        return
    if state == "failed":
        yield rendering.note("bad", words[reason], words[reason + "_help"])
    if link.interface == "lan":
        yield rendering.note("good", words["online_by_lan"], words["on_lan_hint"])
    elif link.interface:
        yield rendering.note("good", site.on_wifi(words), words["address"] % ip)
    elif state == "connecting":
        title = words["trying_to_join"] % site.tried()
        yield rendering.note("warn", title, words[reason] if reason else "")
    elif state != "failed":
        yield "<p>%s</p>" % words["introduction"]


def _rows(networks, picked, words):
    """The list to choose from: (ssid, rssi, secured) as radio buttons, strongest first."""
    if not networks:
        yield "<label><span>%s</span></label>" % words["none_in_reach"]
        return
    more = words["more"]
    signal = words["signal_of_four"]
    kinds = (words["without_password"], words["with_password"])
    for at, (ssid, rssi, secured) in enumerate(networks):
        if at == _SHOWN:
            yield "<details%s><summary>%s (%d)</summary>" % (
                " open" if any(network[0] == picked for network in networks[at:]) else "",
                more,
                len(networks) - _SHOWN,
            )
        name = escape(ssid)
        bars = 4 if rssi >= -55 else 3 if rssi >= -67 else 2 if rssi >= -78 else 1
        yield (
            '<label><input type="radio" name="pick" value="%s"%s><span>%s</span>%s'
            '<svg role="img" aria-label="%s, %s"><use href="#s%d"/></svg></label>\n'
            % (
                name,
                " checked" if ssid == picked else "",
                name,
                '<svg aria-hidden="true"><use href="#k"/></svg>' if secured else "",
                signal % bars,
                kinds[secured],
                bars,
            )
        )
    if len(networks) > _SHOWN:
        yield "</details>"
