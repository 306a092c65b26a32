"""What came of it: the trial of a network or a provider, and whether the load balancer answers."""

from provisioning import rendering
from provisioning.words import escape


def answer(site, request, name):
    words = site.words(request)
    trial = site.uplink.trial
    if trial:
        values = {
            "state": "provider " + trial.state,
            "refresh": "" if trial.state == "failed" else rendering.follow(2, "/status"),
            "outcome": _outcome_of_provider(words, trial),
        }
        return site.page(request, "status", words, values, here="details")
    state = site.link.trial[0]
    cloud, _, fault = site.uplink.state.partition(":")
    settled = state in ("failed", "idle") or (state == "online" and cloud == "online")
    values = {
        "state": state + " " + escape(site.uplink.state),
        "refresh": "" if settled else rendering.follow(2, "/status"),
        "outcome": _outcome(site, words, cloud, fault.strip()),
    }
    return site.page(request, "status", words, values)


def _outcome_of_provider(words, trial):
    host = escape(trial.provider["host"])
    if trial.state != "failed":
        yield rendering.state(
            "wait", "", words["trying_provider"] % host, words["trying_provider_hint"]
        )
        return
    yield rendering.state(
        "bad", "!", words["nothing_changed"], words["nothing_changed_help"] % host
    )
    if trial.fault == "not_saved":
        yield rendering.note("bad", words["err_not_saved"], "")
    else:
        yield rendering.cloud_note(words, trial.fault, trial.words, True)
    yield '<a class="go" href="/provider">%s</a>' % words["provider"]


def _outcome(site, words, cloud, fault):
    state, reason, ip = site.link.trial
    if state == "connecting":
        yield rendering.state(
            "wait",
            "",
            words["connecting"] % site.tried(),
            words["connecting_hint"] % site.identity.ssid,
        )
        return
    note = ""
    kind, sign, to, go = "warn", "?", "/", "title"
    if state == "failed":
        kind, sign, go = "bad", "!", "again"
        title, text = words[reason], words[reason + "_help"]
        if site.link.interface:  # the network before it works as it did
            note = rendering.note("good", _way(site, words), words["address"] % ip)
    elif state == "online":
        kind, sign, to, go = "good", "✓", "/wiring", "see_wiring"
        title = _way(site, words)
        text = words["address"] % ip
        if cloud == "failed":
            kind, sign, to, go = "warn", "!", "/provider", "provider"
            note = rendering.cloud_note(words, site.uplink.fault, fault)
        elif cloud != "off":
            text += "</p><p>" + words["cloud_" + cloud]
    else:
        title, text = words["idle"], words["idle_hint_text"]
    yield rendering.state(kind, sign, title, text)
    yield note
    yield '<a class="go" href="%s">%s</a>' % (to, words[go])


def _way(site, words):
    return words["online_by_lan"] if site.link.interface == "lan" else site.on_wifi(words)
