"""The wiring page: live values per phase, large enough for a phone held in one hand."""

from provisioning import rendering


def answer(site, request, name):
    words = site.words(request)
    measurement = site.meter.last
    values = {
        "refresh": rendering.follow(3, "/wiring"),
        "phases": _phases(measurement, words),
        "stale": " hidden" if measurement else "",
    }
    return site.page(request, "wiring", words, values, here="wiring")


def _phases(measurement, words):
    """One card per phase: current, voltage, power, direction. A dash where nothing is known."""
    flows = (words["flow_in"], words["flow_out"], words["flow_none"])
    for at in range(3):
        current = voltage = power = None
        if measurement is not None:
            current = measurement.i_ma[at]
            voltage = measurement.u_mv[at]
            power = measurement.p_mw[at]
        flow = 2 if power is None or abs(power) < 5000 else power < 0
        yield (
            '<section class="card phase"><h2>L%d</h2><div class="amps" id="i%d">%s</div>'
            '<div><b id="p%d">%s</b><br><span id="u%d">%s</span></div>'
            '<p id="d%d">%s</p></section>\n'
            % (
                at + 1,
                at,
                "–" if current is None else "%d.%d A" % divmod((current + 50) // 100, 10),
                at,
                "–" if power is None else "%d W" % ((abs(power) + 500) // 1000),
                at,
                "–" if voltage is None else "%d V" % ((voltage + 500) // 1000),
                at,
                flows[flow],
            )
        )
