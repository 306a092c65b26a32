"""JSON as RFC 8259 has it, and nothing else. MicroPython's own reader takes commas and colons for
spaces, one closing bracket for another, numbers for names and halves of characters for text: a
command that was damaged on its way would be obeyed.

In: text. Out: what it says, or a ValueError; a KeyError where an object has a name twice, which
readers understand in different ways. Loaded with the commands.
"""

import json

from micropython import const

# What may come next.
_VALUE = const(0)
_FIRST_VALUE = const(1)  # or ]
_NAME = const(2)
_FIRST_NAME = const(3)  # or }
_COLON = const(4)
_AFTER = const(5)  # a comma or what closes


def loads(text):
    text, names = _checked(text)
    try:
        value = json.loads(text)
        if _names(value) != names:
            raise KeyError
    except RuntimeError:  # nested too deep
        raise ValueError
    return value


def _names(value):
    """How many names the objects in it have."""
    if type(value) is dict:
        return len(value) + sum(_names(inner) for inner in value.values())
    return sum(_names(inner) for inner in value) if type(value) is list else 0


def _checked(text):
    """`text`, with escaped surrogate pairs (RFC 8259, 7) as the characters they are; how many
    names it gives."""
    names = 0
    due = _VALUE
    closing = ""  # what closes the brackets that are open
    at = 0
    while at < len(text):
        letter = text[at]
        at += 1
        if letter in " \t\r\n":
            continue
        if letter == '"':
            sound = due <= _FIRST_NAME
            due = _AFTER if due <= _FIRST_VALUE else _COLON
            text, at = _string(text, at)
        elif letter in "{[":
            sound = due <= _FIRST_VALUE
            closing += "}" if letter == "{" else "]"
            due = _FIRST_NAME if letter == "{" else _FIRST_VALUE
        elif letter in "}]":
            empty = _FIRST_NAME if letter == "}" else _FIRST_VALUE
            sound = closing[-1:] == letter and due in (_AFTER, empty)
            closing = closing[:-1]
            due = _AFTER
        elif letter == ",":
            sound = due == _AFTER and closing != ""
            due = _NAME if closing[-1:] == "}" else _VALUE
        elif letter == ":":
            sound = due == _COLON
            names += 1
            due = _VALUE
        else:
            sound = due <= _FIRST_VALUE
            due = _AFTER
            start = at - 1
            while at < len(text) and text[at] not in ' \t\r\n,:{}[]"':
                at += 1
            _check_number(text[start:at])
        if not sound:
            raise ValueError
    return text, names


def _string(text, at):
    """Looks at the string that begins at `at`. Returns the text and where the string has ended."""
    while True:
        quote = text.find('"', at)
        if quote < 0 or min(text[at : quote + 1]) < " ":
            raise ValueError
        slash = text.find("\\", at, quote)
        if slash < 0:
            return text, quote + 1
        at = slash + 2
        kind = text[slash + 1]
        if kind == "u":
            at += 4
            code = _hex(text[slash + 2 : at])
            if 0xD800 <= code < 0xDC00 and text[at : at + 2] == "\\u":
                low = _hex(text[at + 2 : at + 6]) - 0xDC00
                if 0 <= low < 0x400:
                    text = (
                        text[:slash] + chr(0x10000 + (code - 0xD800 << 10) + low) + text[at + 6 :]
                    )
                    at = slash + 1
                    continue
            if 0xD800 <= code < 0xE000:
                raise ValueError  # half a character
        elif kind not in '"\\/bfnrt':
            raise ValueError


def _hex(digits):
    if len(digits) != 4:
        raise ValueError
    for digit in digits:
        if digit not in "0123456789abcdefABCDEF":
            raise ValueError
    return int(digits, 16)


def _check_number(word):
    """What json.loads lets through: 01 and 1. (true, false and null it knows)."""
    if word[:1] == "-":
        word = word[1:]
    if word[:1] == "0" and word[1:2] >= "0" and word[1:2] <= "9":
        raise ValueError
    dot = word.find(".")
    if dot >= 0 and not "0" <= word[dot + 1 : dot + 2] <= "9":
        raise ValueError
