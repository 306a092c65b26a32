"""The portal's pages: templates and words on flash, streamed line by line with values filled in.

In: a folder, a language, values. Out: generators of strings, ready to be sent; neither a page nor
a language is ever in memory as a whole. Everything that comes from outside goes through `escape`:
an SSID may hold any 32 bytes an attacker likes.
"""

LANGUAGES = ("en", "fr", "sv", "de")

_NAMES = ("English", "Français", "Svenska", "Deutsch")
_SHOWN = 6  # networks that are listed at once; the others are one tap away


class Words:
    """words["key"] out of text/<language>.json, which has one word a line.

    Searches on from where the last one was found: the files are in the order of the pages.
    """

    def __init__(self, folder, language):
        self._file = open(folder + "text/" + language + ".json", "rb")  # noqa: SIM115

    def __getitem__(self, key):
        mark = ('"%s": "' % key).encode()
        for _ in range(2):
            while True:
                line = self._file.readline()
                if line.startswith(mark):
                    return line[len(mark) : line.rfind(b'"')].decode()
                if not line:
                    break
            self._file.seek(0)
        raise KeyError(key)

    def close(self):
        self._file.close()


def escape(text):
    """Safe as HTML text and as a quoted attribute."""
    for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(sign, entity)
    return text.replace("'", "&#39;")


def language_of(cookie, accept):
    """The chosen language: by hand (the cookie `lang`), else the browser's first that we speak."""
    for part in cookie.split(";"):
        name, _, value = part.strip().partition("=")
        if name == "lang" and value in LANGUAGES:
            return value
    for part in accept.lower().split(","):
        tag, _, quality = part.strip().partition(";")
        if tag.split("-")[0] in LANGUAGES and quality.strip() not in ("q=0", "q=0.0"):
            return tag.split("-")[0]
    return LANGUAGES[0]


def page(folder, names, words, values):
    """The templates `names` one after the other, {{key}} being a value or a word of the language.

    A value is HTML: a string, or a generator that is asked for it when its place has come.
    """
    try:
        for name in names:
            for part in _fill(folder + "pages/" + name + ".html", words, values):
                yield part
    finally:
        words.close()


def lines(path):
    with open(path, "rb") as file:
        while True:
            line = file.readline()
            if not line:
                return
            yield line


def _fill(path, words, values):
    for line in lines(path):
        parts = line.decode().split("{{")
        yield parts[0]
        for at in range(1, len(parts)):
            key, _, rest = parts[at].partition("}}")
            value = values[key] if key in values else words[key]
            if isinstance(value, str):
                yield value
            else:
                for part in value:
                    yield part
            yield rest


def languages(current):
    for language, name in zip(LANGUAGES, _NAMES):
        if language == current:
            yield "<b>%s</b>" % name
        else:
            yield '<a href="?lang=%s" lang="%s">%s</a>' % (language, language, name)


def network_rows(networks, picked, words):
    """The list to choose from: (ssid, rssi, secured) as radio buttons, strongest first."""
    if not networks:
        yield "<label><span>%s</span></label>" % words["none"]
        return
    more = words["more"]
    signal = words["signal"]
    kinds = (words["unlocked"], words["locked"])
    for at, (ssid, rssi, secured) in enumerate(networks):
        if at == _SHOWN:
            yield "<details><summary>%s (%d)</summary>" % (more, len(networks) - _SHOWN)
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


def phases(measurement, words):
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
