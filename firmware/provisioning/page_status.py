"""What came of it: the trial of a network, and whether the load balancer answers."""

from provisioning import rendering


def answer(site, request, name):
    words = site.words(request)
    state = site.link.trial[0]
    cloud, _, fault = site.uplink.state.partition(":")
    settled = state in ("failed", "idle") or (state == "online" and cloud == "online")
    values = {
        "state": state + " " + rendering.escape(site.uplink.state),
        "refresh": "" if settled else rendering.follow(2, "/status"),
        "outcome": _outcome(site, words, cloud, fault.strip()),
    }
    return site.page(request, "status", words, values)


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
    elif state == "online":
        kind, sign, to, go = "good", "✓", "/wiring", "see_wiring"
        title = words["on_lan"] if site.link.interface == "lan" else site.on_wifi(words)
        text = words["address"] % ip
        if cloud == "failed":
            kind, sign, to, go = "warn", "!", "/provider", "provider"
            note = rendering.cloud_note(words, site.uplink.fault, fault)
        elif cloud != "off":
            text += "</p><p>" + words["cloud_" + cloud]
    else:
        title, text = words["idle"], words["idle_hint"]
    yield rendering.state(kind, sign, title, text)
    yield note
    yield '<a class="go" href="%s">%s</a>' % (to, words[go])
