"""The wiring page: live values per phase, large enough for a phone held in one hand; what is wrong
with the clamps, and what an installer confirms: where they are, what kind of site this is.

Nothing is corrected before it was confirmed. What was is the settings `wiring` and `phases`; the
meter obeys the first within a second, the second after a restart, which is offered.
"""

import json

from provisioning import rendering
from provisioning.routes import answer as reply
from provisioning.routes import from_own_page
from provisioning.words import escape

_LABELLED = ["L1", "L2", "L3"]


def answer(site, request, name):
    if request.method != "POST":
        return _site(site, request) if request.args.get("site") else _page(site, request)
    if not from_own_page(request):
        return _page(site, request, 403, "err_other_origin")
    try:
        _save(site.settings, request.form or {})
    except ValueError:
        return _page(site, request, 400, "err_unreadable_form")
    except OSError:
        return _page(site, request, 400, "err_not_saved")
    return reply("", 303, {"Location": "/wiring"})


def _save(settings, fields):
    """Stores what one of the two forms says. ValueError: it is neither."""
    wiring = dict(settings.wiring or {})
    phases = settings.phases
    kind = fields.get("kind", "")
    if kind:
        phases = {"one": 1, "n_l1": 3, "three": 3}.get(kind)
        wiring["voltages"] = 3 if kind == "three" else 1
        wiring["export"] = fields.get("export", "") == "yes"
    elif fields.get("undo", ""):
        wiring.pop("clamps", None)
    else:
        wiring["clamps"] = fields.get("clamps", "").split(",")
    settings.update(wiring=wiring or None, phases=phases)


def suggested(found, current):
    """The one mapping that fits what was found of each clamp (None = nothing), as the setting
    `wiring` has it; None if there is none, or nothing to change.

    Clamps that told nothing are taken to be where they were said to be.
    """
    free = [name for name in _LABELLED if name not in [grip and grip[-2:] for grip in found]]
    if len(free) != found.count(None):  # two on one conductor: a hand must move one
        return None
    mapping = list(found)
    for at in range(3):
        if mapping[at] is None and current[at][-2:] in free:
            mapping[at] = current[at]
            free.remove(current[at][-2:])
    if free:
        mapping[mapping.index(None)] = free[0]
    return None if mapping == current else mapping


def _page(site, request, status=200, fault=None):
    words = site.words(request)
    measurement = site.meter.last
    values = {
        "refresh": rendering.follow(3, "/wiring"),
        "notes": rendering.note("bad", words[fault], "") if fault else "",
        "told": _told(site, measurement),  # before it is: what changes meanwhile is seen
        "found": _found(site, measurement, words),
        "phases": _phases(measurement, words),
        "stale_hidden": " hidden" if measurement else "",
        "kind_of_site_now": words["kind_of_site_" + _kind(site.settings, measurement)],
    }
    return site.page(request, "wiring", words, values, status, here="wiring")


def _told(site, measurement):
    """What the notes tell of, as in /live.json: the script compares."""
    flags = json.dumps(measurement.flags if measurement else [])
    return escape('"measurement": {"flags": %s}, %s' % (flags, site.found()))


def _found(site, measurement, words):
    """What is wrong and the remedy, in the order of what an installer would do about it."""
    settings = site.settings
    if settings.phases != site.info()["phases"]:
        yield rendering.note(
            "warn",
            words["restart_needed"],
            '</p><form method="post" action="/restart"><button class="go">%s</button></form><p>'
            % words["restart"],
        )
    setting = settings.wiring or {}
    for flag in measurement.flags if measurement else ():
        if flag.startswith("voltage_lost") or (
            flag.startswith("estimated") and setting.get("voltages") == 3
        ):
            yield rendering.note("warn", words["finding_voltage"] % flag[-1], "")
        elif flag == "no_voltage":
            yield rendering.note("warn", words["finding_no_voltage"], "")
    current = setting.get("clamps") or _LABELLED
    # Without a voltage what was found of the clamps may be true no more.
    if not (measurement and "no_voltage" in measurement.flags):
        yield from _verdict(site.meter.wiring, current, words)
    if current != _LABELLED:
        yield _offer(words, current, "corrected_mapping", "undo_mapping", "undo")


def _verdict(wiring, current, words):
    clamps = wiring.state["clamps"] or [None] * 3
    mapping = suggested(clamps, current)
    for key, arguments in wiring.findings:
        yield rendering.note("warn", words["finding_" + key] % arguments, "")
        if key == "outflow":
            mapping = [grip[1:] if grip[0] == "-" else "-" + grip for grip in current]
    if wiring.state["findings"] is None or (not wiring.findings and not any(clamps)):
        yield rendering.note("good", words["finding_none_yet"], words["finding_none_yet_help"])
    elif not wiring.findings:
        yield rendering.note("good", words["finding_none"], "")
    if mapping:
        yield _offer(words, mapping, "suggested_mapping", "confirm_mapping", "clamps")


def _offer(words, mapping, title, button, name):
    """A form that stores `mapping`, or takes it back."""
    rows = ""
    for at, grip in enumerate(mapping):
        rows += words["clamp_on_phase"] % (at + 1, grip[-2:])
        rows += (words["clamp_turned"] if grip[0] == "-" else "") + "<br>"
    return (
        '<form method="post" action="/wiring" class="card offer"><h2>%s</h2><p>%s</p>'
        '<button class="go%s" name="%s" value="%s">%s</button></form>'
        % (
            words[title],
            rows,
            " quiet" if name == "undo" else "",
            name,
            ",".join(mapping),
            words[button],
        )
    )


def _kind(settings, measurement):
    """What the site was said to be; before that, what it looks like."""
    if settings.phases == 1:
        return "one"
    told = (settings.wiring or {}).get("voltages")
    if told is None and measurement:
        for flag in measurement.flags:
            if flag.startswith("estimated"):
                told = 1
    return "n_l1" if told == 1 else "three"


def _site(site, request):
    """The form that says what kind of site this is: a page of its own, which does not refresh."""
    words = site.words(request)
    now = _kind(site.settings, site.meter.last)
    export = (site.settings.wiring or {}).get("export")
    values = {
        "kinds_of_sites": _kinds(words, now),
        "export": " checked" if export else "",
    }
    return site.page(request, "site", words, values, here="wiring")


def _kinds(words, now):
    for kind in ("one", "n_l1", "three"):
        yield (
            '<label><input type="radio" name="kind" value="%s"%s><span>%s<br><small>%s</small>'
            "</span></label>\n"
            % (
                kind,
                " checked" if kind == now else "",
                words["kind_of_site_" + kind],
                words["kind_of_site_%s_help" % kind],
            )
        )


def _phases(measurement, words):
    """One card per phase: current, voltage, power, direction. A dash where nothing is known."""
    flows = (words["flow_into_building"], words["flow_out_of_building"], words["flow_of_nothing"])
    point = "." if words.language == "en" else ","
    for at in range(3):
        current = voltage = power = None
        if measurement is not None:
            current = measurement.i_ma[at]
            voltage = measurement.u_mv[at]
            power = measurement.p_mw[at]
        yield (
            '<section class="card phase"><h2>L%d</h2><div class="amps" id="i%d">%s</div>'
            '<div><b id="p%d">%s</b><br><span id="u%d">%s</span></div>'
            '<p id="d%d">%s</p></section>\n'
            % (
                at + 1,
                at,
                "–" if current is None else _amps(current, point),
                at,
                "–" if power is None else "%d W" % ((abs(power) + 500) // 1000),
                at,
                "–" if voltage is None else "%d V" % ((voltage + 500) // 1000),
                at,
                "–" if power is None else flows[2 if abs(power) < 5000 else power < 0],
            )
        )


def _amps(current_ma, point):
    whole, tenths = divmod((current_ma + 50) // 100, 10)
    return "%d%s%d A" % (whole, point, tenths)
