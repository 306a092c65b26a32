"""Whatever a phone or an attacker sends: every parser of the portal holds its promises.

Requests are read by the server itself from connections of cardboard, in pieces of any size.
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st
from test_portal_server import Clock

from device.settings import Settings
from metering.wiring_words import WORDS
from provisioning import page_wiring, rendering
from provisioning.certificate import uploaded
from provisioning.page_form import chosen, complaint
from provisioning.web import Refused, Server
from provisioning.words import LANGUAGES, Words, escape, language_of

PAGES = Path(__file__).resolve().parent.parent / "firmware" / "provisioning"
many = hypothesis(max_examples=60, deadline=None)
token = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.", min_size=1)


class Cardboard:
    """A connection that delivers `data` in pieces of the sizes given, then has ended."""

    def __init__(self, data: bytes, sizes: Iterable[int]) -> None:
        self._data, self._sizes = data, iter(sizes)

    async def read(self, most: int) -> bytes:
        size = min(most, next(self._sizes, most))
        piece, self._data = self._data[:size], self._data[size:]
        return piece


def received(data: bytes, sizes: Iterable[int] = ()) -> Any:
    """What the server makes of it: (method, path, args, headers, body), a status, or "closed"."""

    async def story() -> Any:
        server = Server(lambda request: None, Clock())
        reader = Cardboard(data, sizes)
        try:
            got = await server._receive(await reader.read(512), reader)
        except Refused as refusal:
            return refusal.args[0]
        except OSError:
            return "closed"
        assert len(got.body) <= server.max_upload
        args = {name: got.args[name] for name in got.args}
        return got.method, got.path, args, dict(got.headers), bytes(got.body)

    return asyncio.run(story())


sizes = st.lists(st.integers(1, 40), max_size=60)
requests = st.one_of(
    st.binary(max_size=700),
    st.builds(
        lambda line, head, tail: line + b"\r\n" + b"\r\n".join(head) + b"\r\n\r\n" + tail,
        st.sampled_from([b"GET / HTTP/1.1", b"POST /ca HTTP/1.1", b"POST /wiring HTTP/1.0"])
        | st.binary(max_size=40),
        st.lists(
            st.sampled_from([b"Host: 192.168.251.1", b"Content-Length: 5", b"Cookie: lang=sv"])
            | st.builds(lambda n: b"Content-Length: %d" % n, st.integers(-1, 10**7))
            | st.binary(max_size=40),
            max_size=4,
        ),
        st.binary(max_size=50),
    ),
)


@many
@given(requests, sizes)
@example(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 900, [])
@example(b"POST /ca HTTP/1.1\r\nContent-Length: 999999\r\n\r\n", [])
@example(b"GET /" + b"a" * 480 + b" HTTP/1.1\r\n\r\n", [9] * 60)
def test_any_bytes_are_a_request_a_status_or_a_closed_connection(data, pieces) -> None:
    made = received(data, pieces)
    assert isinstance(made, tuple) or made in (400, 413, 414, 431, 501, "closed")
    # A sender decides nothing by how the network cuts it into pieces.
    assert made == received(data)


@many
@given(token, st.dictionaries(token, token, max_size=4), st.binary(max_size=1024), sizes)
def test_a_proper_request_arrives_as_it_was_sent(name, args, body, pieces) -> None:
    query = "?" + "&".join(f"{k}={v}" for k, v in args.items() if "." not in k + v)
    kept = {k: v for k, v in args.items() if "." not in k + v}
    data = f"POST /{name}{query if kept else ''} HTTP/1.1\r\nHost: a\r\nX-Odd:  b \r\n"
    data += f"content-length: {len(body)}\r\n\r\n"
    if len(data) > 400:
        return
    made = received(data.encode() + body, pieces)
    assert made[:3] == ("POST", "/" + name, kept)
    assert made[3] == {"Host": "a", "Content-Length": str(len(body))}
    assert made[4] == body


@many
@given(st.text(max_size=40), st.text(max_size=40))
def test_a_network_and_its_password_survive_the_form(ssid: str, password: str) -> None:
    from microdot import Request

    try:
        body = urlencode({"ssid": ssid, "password": password}).encode()
    except UnicodeEncodeError:
        return  # half a surrogate: no browser can send it
    head = {"Content-Type": "application/x-www-form-urlencoded"}
    form = Request(None, None, "POST", "/connect", "1.0", head, body=body).form or {}
    assert chosen(form) == (ssid, password, False)


printable = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)


@many
@given(
    st.text(max_size=40) | printable,
    st.text(max_size=40) | printable,
    st.sampled_from([True, False, None]),
)
@example("Hallonstigen 7", "x" * 30, True)
@example("Hallonstigen 7", "x" * 31, True)
@example("å" * 17, "smultron", True)
def test_what_the_page_lets_through_the_settings_take(ssid, password, secured) -> None:
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(folder + "/settings")
        taken = True
        try:
            settings.update(wifi_ssid=ssid, wifi_password=password)
        except (ValueError, UnicodeEncodeError):
            taken = False
        try:
            refused = complaint(ssid, password, secured, True)
        except UnicodeEncodeError:
            return
        assert taken or refused
        if len(password) > 30 or not password.isascii():
            assert refused
            assert not taken


@many
@given(st.binary(max_size=300), st.booleans())
@example(b"--x\r\n\r\n0\x82\xff\xff\r\n--x--", False)
@example(b"--x\r\n\r\n-----BEGIN CERTIFICATE-----!-----END CERTIFICATE-----\r\n--x--", False)
def test_any_upload_is_one_certificate_or_refused_in_words(data: bytes, framed: bool) -> None:
    if framed:
        data = b"--x\r\nContent-Type: a\r\n\r\n" + data + b"\r\n--x--\r\n"
    try:
        came_of_it = bytes(uploaded(bytearray(data))[:1])
    except ValueError as fault:
        came_of_it = str(fault)
    assert came_of_it in (b"\x30", "err_certificate", "err_ca_none", "err_unreadable_form")


@many
@given(st.text(max_size=60), st.text(max_size=60))
def test_any_browser_gets_one_of_our_languages(cookie: str, accept: str) -> None:
    assert language_of(cookie, accept) in rendering.LANGUAGES


@many
@given(st.text(max_size=60))
def test_no_name_gets_out_of_its_place_in_the_page(name: str) -> None:
    from html import unescape

    shown = escape(name)
    assert not set(shown) & set("<>\"'")
    assert unescape(shown) == name


grips = st.sampled_from(["L1", "-L1", "L2", "-L2", "L3", "-L3"])
mappings = st.permutations(["L1", "L2", "L3"]).flatmap(
    lambda order: st.tuples(*[st.sampled_from([name, "-" + name]) for name in order]).map(list)
)


@many
@given(st.lists(st.none() | grips, min_size=3, max_size=3), mappings)
def test_a_suggestion_is_a_wiring_that_keeps_what_was_found(found, current) -> None:
    mapping = page_wiring.suggested(found, current)
    if mapping is None:
        return
    assert sorted(grip[-2:] for grip in mapping) == ["L1", "L2", "L3"]
    assert all(grip in (None, mapping[at]) for at, grip in enumerate(found))
    assert mapping != current


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=40) | st.floats(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner,
                                                                max_size=4),
    max_leaves=6,
)  # fmt: skip
NAMES = ("wifi_ssid", "wifi_password", "provider", "interval_s", "phases", "wiring", "step_a")


@many
@given(st.dictionaries(st.sampled_from(NAMES), values, min_size=1))
def test_settings_take_a_value_for_good_or_not_at_all(changes: dict[str, object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(folder + "/settings")
        before = {name: settings.get(name) for name in settings.names()}
        try:
            settings.update(**changes)
        except ValueError:
            assert {name: settings.get(name) for name in settings.names()} == before
            return
        after = {name: settings.get(name) for name in settings.names()}
        again = Settings(folder + "/settings")
        assert {name: again.get(name) for name in again.names()} == after
        assert not again.problems


@many
@given(st.binary(max_size=200) | st.dictionaries(st.sampled_from(NAMES), values).map(
    lambda found: json.dumps(found).encode()
))  # fmt: skip
def test_a_settings_file_of_any_content_leaves_a_device_that_starts(content: bytes) -> None:
    from binascii import crc32

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "settings")
        path.write_bytes(b"%08x\n" % crc32(content) + content)
        settings = Settings(str(path))
        assert settings.phases in (1, 3)
        assert len(settings.wifi_password) <= 30
        assert settings.wifi_ssid is None or 1 <= len(settings.wifi_ssid.encode()) <= 32


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_finding_has_its_words_in_every_language(language: str) -> None:
    import re

    words = json.loads((PAGES / "text" / f"{language}.json").read_text())
    for key, sentence in WORDS.items():
        assert re.findall("%.", words["finding_" + key]) == re.findall("%.", sentence), key


def test_no_french_line_begins_with_a_colon() -> None:
    import re

    for key, words in json.loads((PAGES / "text" / "fr.json").read_text()).items():
        assert not re.search(" [:;?!](?: |$)", words), key  # the space before it must not break


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_word_is_found_wherever_the_last_one_was(language: str) -> None:
    expected = json.loads((PAGES / "text" / f"{language}.json").read_text())
    words = Words(f"{PAGES}/", language)
    keys = list(expected)
    random.Random(language).shuffle(keys)
    for key in [*expected, *keys, *reversed(expected)]:
        assert words[key] == expected[key]
    with pytest.raises(KeyError):
        words["nobody_wrote_this"]
    assert words[keys[0]] == expected[keys[0]]
    words.close()


def test_a_template_is_filled_wherever_its_marks_lie_in_the_pieces_it_is_read_in(
    tmp_path: Path,
) -> None:
    (tmp_path / "pages").mkdir()
    for before in (0, *range(490, 530), *range(1010, 1030)):
        text = "x" * before + "{{a}}{ {{bb}}" + "y" * 40 + "{{parts}}" + "z" * (before % 7)
        (tmp_path / "pages" / "t.html").write_text(text)
        values = {"a": "<1>", "bb": "", "parts": iter(["p", "q"])}
        words = Words(f"{PAGES}/", "en")
        made = rendering.page(f"{tmp_path}/", ("t",), words, values)
        found = "".join(part if isinstance(part, str) else bytes(part).decode() for part in made)
        assert found == "x" * before + "<1>{ " + "y" * 40 + "pq" + "z" * (before % 7)
