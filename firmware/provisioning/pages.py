"""The portal's pages: templates and words on flash, streamed line by line with values filled in.

In: a folder, a language, values. Out: generators of strings, ready to be sent. Everything that
comes from outside goes through `escape`; an SSID may hold any 32 bytes an attacker likes.
"""

import json

LANGUAGES = ("en", "fr", "sv", "de")

_SHOWN = 6  # networks that are listed at once; the others are one tap away
_LOCK = (
    '<svg width="16" height="16" viewBox="0 0 16 16" fill="none" stroke="currentColor" '
    'stroke-width="1.6" aria-hidden="true"><rect x="3" y="7" width="10" height="7" rx="1.6"/>'
    '<path d="M5 7V5a3 3 0 0 1 6 0v2"/></svg>'
)


def escape(text):
    """Safe as HTML text and as a quoted attribute."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace('"', "&quot;").replace("'", "&#39;")


def language_of(cookie, accept):
    """The chosen language: by hand (the cookie `lang`), else the browser's first that we speak."""
    for part in cookie.split(";"):
        name, _, value = part.strip().partition("=")
        if name == "lang" and value in LANGUAGES:
            return value
    for part in accept.split(","):
        tag, _, quality = part.strip().partition(";")
        if tag[:2].lower() in LANGUAGES and tag[2:3] in ("", "-") and quality.strip() != "q=0":
            return tag[:2].lower()
    return LANGUAGES[0]


def bars_of(rssi):
    """Signal strength in dBm as 1 to 4 bars."""
    return 4 if rssi >= -55 else 3 if rssi >= -67 else 2 if rssi >= -78 else 1


class Pages:
    def __init__(self, folder):
        self._folder = folder
        self._language = None
        self._words = None

    def words(self, language):
        """The words of one language; only the last one asked for is kept."""
        if self._language != language:
            self._words = None  # two languages at a time would cost 6 kB more
            with open(self._folder + "text/" + language + ".json", "rb") as file:
                self._words = json.load(file)
            self._language = language
        return self._words

    def forget(self):
        self._language = self._words = None

    def fill(self, name, words, values):
        """One template, line by line: {{key}} is a value (HTML, may be a generator) or a word."""
        with open(self._folder + "pages/" + name, "rb") as file:
            while True:
                line = file.readline()
                if not line:
                    return
                line = line.decode()
                at = line.find("{{")
                if at < 0:
                    yield line
                    continue
                begin = 0
                while at >= 0:
                    yield line[begin:at]
                    end = line.index("}}", at)
                    key = line[at + 2 : end]
                    value = values[key] if key in values else words[key]
                    if isinstance(value, str):
                        yield value
                    else:
                        for part in value:
                            yield part
                    begin = end + 2
                    at = line.find("{{", begin)
                yield line[begin:]

    def page(self, name, language, values):
        """A whole page. `values` needs page, state, digits, refresh and what the template uses."""
        words = self.words(language)
        values["lang"] = language
        values["at_wifi"] = values["at_wiring"] = ""
        values["at_wiring" if name == "wiring.html" else "at_wifi"] = ' aria-current="page"'
        values["languages"] = _languages(language)
        if "title" not in values:
            values["title"] = words["title"]
        for template in ("top.html", name, "bottom.html"):
            for part in self.fill(template, words, values):
                yield part


_NAMES = ("English", "Français", "Svenska", "Deutsch")


def _languages(current):
    for language, name in zip(LANGUAGES, _NAMES):
        if language == current:
            yield "<b>%s</b>" % name
        else:
            yield '<a href="?lang=%s" hreflang="%s" lang="%s">%s</a>' % (
                language,
                language,
                language,
                name,
            )


def note(kind, title, text=None):
    """A coloured box. `title` and `text` are HTML."""
    yield '<div class="note %s" role="status"><p>%s</p>' % (kind, title)
    if text:
        yield '<p class="hint">%s</p>' % text
    yield "</div>"


def network_rows(networks, picked, words):
    """The list to choose from: (ssid, rssi, secured) as radio buttons, strongest first."""
    if not networks:
        yield "<label><span>%s</span></label>" % words["none"]
    for at, network in enumerate(networks):
        if at == _SHOWN:
            yield "<details><summary>%s (%d)</summary>" % (words["more"], len(networks) - _SHOWN)
        yield _network_row(network, network[0] == picked, words)
    if len(networks) > _SHOWN:
        yield "</details>"


def _network_row(network, picked, words):
    ssid, rssi, secured = network
    bars = bars_of(rssi)
    drawn = "".join(
        '<rect x="%d" y="%d" width="3.5" height="%d" rx="1"%s/>'
        % (at * 5, 11 - at * 3, 5 + at * 3, "" if at < bars else ' class="off"')
        for at in range(4)
    )
    signal = words["signal"] % bars + ", " + words["locked" if secured else "unlocked"]
    return (
        '<label><input type="radio" name="pick" value="%s"%s><span>%s</span>%s'
        '<svg width="19" height="16" viewBox="0 0 19 16" fill="currentColor" role="img" '
        'aria-label="%s">%s</svg></label>\n'
    ) % (
        escape(ssid),
        " checked" if picked else "",
        escape(ssid),
        _LOCK if secured else "",
        signal,
        drawn,
    )


def _decimal(milli, digits, unit):
    """A number in thousandths as text: _decimal(16049, 1, "A") is "16.0 A"."""
    if milli is None:
        return "–"
    step = 10 ** (3 - digits)
    whole = (abs(milli) + step // 2) // step
    sign = "-" if milli < 0 and whole else ""
    if not digits:
        return "%s%d %s" % (sign, whole, unit)
    return "%s%d.%0*d %s" % (sign, whole // 10**digits, digits, whole % 10**digits, unit)


def phases(measurement, words):
    """One card per phase: current, voltage, power, direction. None where nothing is known."""
    for at in range(3):
        current = voltage = power = None
        if measurement is not None:
            current = measurement.i_ma[at]
            voltage = measurement.u_mv[at]
            power = measurement.p_mw[at]
        if power is None or abs(power) < 5000:
            flow = "flow_none"
        else:
            flow = "flow_in" if power > 0 else "flow_out"
        yield (
            '<section class="card phase"><h2>L%d</h2><div class="amps" id="i%d">%s</div>'
            '<div><b id="p%d">%s</b><br><span id="u%d">%s</span></div>'
            '<p id="d%d">%s</p></section>\n'
        ) % (
            at + 1,
            at,
            _decimal(current, 1, "A"),
            at,
            _decimal(None if power is None else abs(power), 0, "W"),
            at,
            _decimal(voltage, 0, "V"),
            at,
            words[flow],
        )
