"""The words of the portal in the reader's language, out of text/<language>.json on flash.

In: a request's cookie and Accept-Language. Out: Words; a language is never in memory as a whole.
"""

from micropython import const

LANGUAGES = ("en", "fr", "sv", "de")

_PIECE = const(512)  # bytes of a file in memory at a time


class Words:
    """words["key"] out of text/<language>.json, which has one word a line.

    Searches on from where the last one was found: the files are in the order of the pages. In
    pieces rather than by lines, which would take the meter's time. KeyError: there is no such
    word.
    """

    def __init__(self, folder, language, piece=None):
        self._file = open(folder + "text/" + language + ".json", "rb")  # noqa: SIM115
        self.language = language
        self._piece = piece or bytearray(_PIECE)
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
                if self._size < len(self._piece):
                    break
                self._read(self._start + len(self._piece) - len(mark))
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
    """Safe as HTML text and as a quoted attribute: an SSID may hold any 32 bytes an attacker
    likes."""
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
