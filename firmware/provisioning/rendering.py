"""The portal's pages: templates and words on flash, streamed line by line with values filled in.

In: a folder, Words, values. Out: generators of str and of bytes that are to be copied before the
next is asked for; a page is never in memory as a whole. Everything that comes from outside goes
through `escape`.
"""

from micropython import const

from provisioning.words import LANGUAGES, escape

_NAMES = ("English", "Français", "Svenska", "Deutsch")  # of LANGUAGES
_PIECE = const(512)  # bytes of a file in memory at a time


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
