"""The portal's pages: templates and words on flash, streamed line by line with values filled in.

In: a folder, a language, values. Out: generators of str and of bytes that are to be copied before
the next is asked for; neither a page nor
a language is ever in memory as a whole. Everything that comes from outside goes through `escape`:
an SSID may hold any 32 bytes an attacker likes.
"""

from micropython import const

LANGUAGES = ("en", "fr", "sv", "de")

_NAMES = ("English", "Français", "Svenska", "Deutsch")


_PIECE = const(512)  # bytes of a file in memory at a time


class Words:
    """words["key"] out of text/<language>.json, which has one word a line.

    Searches on from where the last one was found: the files are in the order of the pages. In
    pieces rather than by lines, which would take the meter's time. KeyError: there is no such
    word.
    """

    def __init__(self, folder, language):
        self._file = open(folder + "text/" + language + ".json", "rb")  # noqa: SIM115
        self.language = language
        self._piece = bytearray(_PIECE)
        self._view = memoryview(self._piece)
        self._start = 0  # of the piece in the file
        self._at = self._size = 0  # in the piece: where to search on, and its end

    def __getitem__(self, key):
        return str(self.raw(key), "utf-8")

    def raw(self, key):
        """UTF-8 that is to be copied before the next is asked for."""
        mark = ('\n"%s": "' % key).encode()
        for again in (False, True):
            if again:
                self._read(0)
            while True:
                found = self._piece.find(mark, self._at, self._size)
                if found >= 0:
                    return self._word(found, found + len(mark))
                if self._size < _PIECE:
                    break
                self._read(self._start + _PIECE - len(mark))
        raise KeyError(key)

    def _read(self, start):
        self._start = start
        self._at = 0
        self._file.seek(start)
        self._size = self._file.readinto(self._piece)

    def _word(self, found, begin):
        """What stands in quotes from `begin` on; its line may end in the next piece."""
        self._at = found
        end = self._piece.find(b"\n", begin, self._size)
        if end < 0:
            self._read(self._start + found)
            begin -= found
            end = self._piece.find(b"\n", begin, self._size)
        return self._view[begin : self._piece.rfind(b'"', begin, end)]

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
    piece = bytearray(_PIECE)
    try:
        for name in names:
            yield from _fill(folder + "pages/" + name + ".html", piece, words, values)
    finally:
        words.close()


def pieces(path):
    """A file as it stands; one buffer for all of it."""
    piece = bytearray(_PIECE)
    view = memoryview(piece)
    with open(path, "rb") as file:
        while True:
            size = file.readinto(piece)
            if not size:
                return
            yield view[:size]


def _fill(path, piece, words, values):
    """Piece by piece from one {{key}} to the next: lines would be read byte by byte."""
    view = memoryview(piece)
    start = 0
    with open(path, "rb") as file:
        while True:
            file.seek(start)
            size = file.readinto(piece)
            at = 0
            while True:
                mark = piece.find(b"{{", at, size)
                end = piece.find(b"}}", mark, size) if mark >= 0 else -1
                if end < 0:
                    break
                yield view[at:mark]
                key = str(view[mark + 2 : end], "utf-8")
                at = end + 2
                if key not in values:
                    yield words.raw(key)
                elif isinstance(values[key], str):
                    yield values[key]
                else:
                    yield from values[key]
            if size < _PIECE:
                yield view[at:size]
                return
            # A mark may lie across the end of the piece.
            stop = mark if mark >= 0 else max(at, size - 1)
            yield view[at:stop]
            start += stop


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


def cloud_note(words, kind, fault, tried_once=False):
    """Why the load balancer does not answer, and what to do. `kind` is of cloud.faults."""
    if kind not in ("dns", "refused", "silent", "tls", "rejected", "policy"):
        kind = "other"
    # One that was only tried may be misspelt: that says nothing about the Wi-Fi.
    title = words["cloud_" + ("name" if tried_once and kind == "dns" else kind)]
    text = words["cloud_" + kind + "_help"]
    if not tried_once:
        text += " " + words["cloud_goes_on"]
    return note("warn", title, text + " <small>(%s)</small>" % escape(fault))
