"""The portal's pages: templates and words on flash, streamed line by line with values filled in.

In: a folder, a language, values. Out: generators of strings, ready to be sent; neither a page nor
a language is ever in memory as a whole. Everything that comes from outside goes through `escape`:
an SSID may hold any 32 bytes an attacker likes.
"""

LANGUAGES = ("en", "fr", "sv", "de")

_NAMES = ("English", "Français", "Svenska", "Deutsch")


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


def note(kind, title, text):
    return '<div class="note %s" role="status"><p>%s</p><p>%s</p></div>' % (kind, title, text)


def state(kind, sign, title, text):
    """The big answer of a page: a ring with a sign, a heading, a paragraph."""
    return (
        '<section class="card state" role="status"><div class="ring %s">%s</div>'
        "<h1>%s</h1><p>%s</p></section>" % (kind, sign, title, text)
    )


def follow(seconds, path):
    """Leads on to `path` where there is no script that would."""
    return '<noscript><meta http-equiv="refresh" content="%d;url=%s"></noscript>' % (seconds, path)


def cloud_note(words, kind, fault):
    """Why the load balancer does not answer, and what to do. `kind` is cloud.wire's."""
    if kind not in ("dns", "refused", "silent", "tls", "rejected", "policy"):
        kind = "other"
    return note(
        "warn",
        words["cloud_" + kind],
        words["cloud_" + kind + "_help"] + " <small>(%s)</small>" % escape(fault),
    )
