"""Safe mode's page before patient, slow and hostile clients: sentences for every interpreter."""

from errno import EAGAIN, ETIMEDOUT

from expect import Part, raises
from same_device import Ticks

from device.log import Log
from device.safe_page import Page
from device.safe_update import Body

HOME = "192.168.251.1"
WATCHDOG_MS = 30_000


class Client:
    """Sends `pieces`, each (ms it takes to come, bytes); then it ends, or `stays` and is silent.
    It takes `reads_ms` to read whatever it is sent at a time."""

    def __init__(self, time, pieces, stays=False, reads_ms=0):
        self.time = time
        self.pieces = list(pieces)
        self.stays = stays
        self.reads_ms = reads_ms
        self.got = b""
        self.closed = False
        self.timeout_ms = None

    def settimeout(self, seconds):
        assert seconds > 0
        self.timeout_ms = round(seconds * 1000)

    def wait(self, ms):
        assert self.timeout_ms is not None, "it would wait for ever"
        if ms > self.timeout_ms:
            self.time.now += self.timeout_ms
            raise OSError(ETIMEDOUT)
        self.time.now += ms

    def recv(self, size):
        assert size > 0
        if not self.pieces:
            if self.stays:
                self.wait(1 << 28)
            return b""
        takes_ms, data = self.pieces[0]
        self.wait(takes_ms)
        self.pieces[0] = 0, data[size:]
        if not data[size:]:
            self.pieces.pop(0)
        return data[:size]

    def sendall(self, data):
        self.wait(self.reads_ms)
        self.got += data

    def close(self):
        self.closed = True


class Socket:
    def __init__(self, waiting):
        self.waiting = waiting

    def accept(self):
        if not self.waiting:
            raise OSError(EAGAIN)
        return self.waiting.pop(0), (HOME, 50000)

    def nothing(self, *_):
        pass

    setsockopt = bind = setblocking = listen = nothing


class Stage:
    """A page; what was logged, how often it was told to make room, and the longest the watchdog
    went hungry."""

    def __init__(self):
        self.time = Ticks(0x3FFFFF00)  # right before the ticks wrap
        self.waiting = []
        self.logged = []
        self.stopped = []
        self.fed_ms = self.time.now
        self.hungry_ms = 0
        mode = Part(live=lambda: "It measures.", left_ms=lambda: 900_000, stop_measuring=self.stop)
        net = Part(
            socket=lambda family, kind: Socket(self.waiting if kind == 1 else []),
            AF_INET=2,
            SOCK_STREAM=1,
            SOCK_DGRAM=2,
            SOL_SOCKET=1,
            SO_REUSEADDR=2,
        )
        self.page = Page(
            mode,
            HOME,
            identity=Part(digits="42317", variant="home"),
            boots=Part(last_crash=lambda: "ValueError: <1>"),
            log=Log(self.time, self.logged.append, None),
            feed=self.feed,
            socket=net,
            time=self.time,
        )

    def stop(self, why):
        self.stopped.append(why)

    def feed(self):
        self.hungry_ms = max(self.hungry_ms, self.time.now - self.fed_ms)
        self.fed_ms = self.time.now

    def meet(self, pieces, **habits):
        """Returns what the client got, and the milliseconds it held the page."""
        client = Client(self.time, pieces, **habits)
        self.waiting.append(client)
        began = self.time.now
        self.feed()
        self.page.answer()
        self.feed()
        assert client.closed
        assert self.hungry_ms < WATCHDOG_MS
        assert "Assertion" not in "".join(self.logged)
        return client.got, self.time.now - began

    def ask(self, method, path, body=b"", **headers):
        headers.setdefault("Host", HOME)
        head = f"{method} {path} HTTP/1.1\r\n"
        for name, value in headers.items():
            head += name.replace("_", "-") + f": {value}\r\n"
        return self.meet([(0, head.encode() + b"\r\n" + body)])[0]


def dripping(data, every_ms):
    return [(every_ms, data[at : at + 1]) for at in range(len(data))]


def still_there(stage):
    return b"safe mode" in stage.ask("GET", "/")


def test_the_page_tells_the_crash_and_the_ways_out():
    stage = Stage()
    page = stage.ask("GET", "/")
    assert page.startswith(b"HTTP/1.0 200 OK\r\n")
    for words in (b"42317", b"15 minutes", b"It measures.", b"ValueError: &lt;1>", b"/retry"):
        assert words in page, words
    assert b"302" in stage.ask("GET", "/generate_204")
    assert not stage.page.over


def test_the_page_has_a_language_a_label_for_its_file_and_buttons_for_a_thumb():
    page = Stage().ask("GET", "/")
    assert b"<html lang=en>" in page
    assert b"<label>Another firmware: <input type=file" in page
    assert b"button{font:inherit;padding:.7em" in page


def test_trying_again_is_one_press():
    stage = Stage()
    assert b"restarts" in stage.ask(
        "POST", "/retry", Origin="http://" + HOME, Referer="http://" + HOME + "/"
    )
    assert stage.page.over


def test_who_sends_a_letter_at_a_time_is_let_go_after_ten_seconds():
    stage = Stage()
    got, took_ms = stage.meet(dripping(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 900))
    assert got == b""
    assert took_ms == 10_000
    assert still_there(stage)


def test_who_falls_silent_in_a_request_is_let_go_after_three_seconds():
    stage = Stage()
    got, took_ms = stage.meet([(10, b"GET / HT")], stays=True)
    assert (got, took_ms) == (b"", 3010)
    assert still_there(stage)


def test_half_a_request_is_none():
    stage = Stage()
    for half in (b"", b"P", b"POST /retry HTTP/1.1\r\nHost: 192.168.251.1\r\n"):
        assert stage.meet([(0, half)])[0] == b""
    assert not stage.page.over
    assert stage.logged == []


def test_who_reads_slowly_is_let_go_in_the_middle_of_the_page():
    stage = Stage()
    request = b"GET / HTTP/1.1\r\nHost: 192.168.251.1\r\n\r\n"
    for reads_ms, most_ms in ((2900, 10_000), (20_000, 3000)):
        got, took_ms = stage.meet([(0, request)], reads_ms=reads_ms)
        assert not got.endswith(b"</pre>")
        assert took_ms == most_ms
    assert still_there(stage)


def test_a_head_without_end_is_not_kept():
    stage = Stage()
    got, took_ms = stage.meet([(10, b"GET / HTTP/1.1\r\n")] + [(10, 500 * b"y" + b"\r\n")] * 100)
    assert got.startswith(b"HTTP/1.0 431")
    assert took_ms < 200
    assert stage.meet([(0, 8000 * b"x")])[0].startswith(b"HTTP/1.0 431")
    assert b"200 OK" in stage.ask("GET", "/", Cookie=3000 * "c")
    assert still_there(stage)


def test_a_firmware_that_no_slot_holds_is_not_read():
    stage = Stage()
    for length in ("1048577", "99999999999999999999", "-5", "1e6", "", " "):
        got = stage.ask("POST", "/update", b"bundle", Content_Length=length)
        assert got.startswith(b"HTTP/1.0 413"), length
    assert stage.ask("POST", "/update").startswith(b"HTTP/1.0 413")
    assert stage.stopped == []
    assert still_there(stage)


def test_what_is_no_firmware_is_read_to_its_end_and_refused_in_words():
    stage = Stage()
    head = b"POST /update HTTP/1.1\r\nHost: 192.168.251.1\r\nContent-Length: 20000\r\n\r\n"
    got, _ = stage.meet([(0, head + 100 * b"x"), (5, 19_900 * b"x"), (0, b"GET /")])
    assert b"Refused: " in got
    assert len(stage.stopped) == 1
    assert not stage.page.over
    assert still_there(stage)


def test_a_firmware_that_drips_in_is_given_up_after_five_minutes():
    stage = Stage()
    head = b"POST /update HTTP/1.1\r\nHost: 192.168.251.1\r\nContent-Length: 20000\r\n\r\n"
    drips = dripping(1000 * b"x", 2500)
    drips.insert(0, (0, head))
    got, took_ms = stage.meet(drips)
    assert got == b""
    assert took_ms == 300_000
    assert not stage.page.over
    assert still_there(stage)


def test_a_firmware_that_ends_too_early_is_refused():
    stage = Stage()
    got = stage.ask("POST", "/update", b"ampguard-bundle 1", Content_Length=5000)
    assert b"Refused: " in got
    assert not stage.page.over


def body(first, sent, size):
    """A body of `size` bytes; `sent` arrives one after the other."""
    return Body(Part(receive=lambda: sent.pop(0) if sent else b""), first, size)


def fetched(bundle, offset, size):
    view = memoryview(bytearray(4))
    got = b""
    while len(got) < size:
        count = bundle.into(view, (offset + len(got), size - len(got)))
        assert count
        got += bytes(view[:count])
    return got


def test_a_body_is_read_in_order_and_what_lies_between_is_passed_over():
    bundle = body(b"01234", [b"56", b"789GET /"], 10)
    assert fetched(bundle, 0, 2) == b"01"
    assert fetched(bundle, 3, 5) == b"34567"
    assert "from its start" in raises(ValueError, fetched, bundle, 5, 1)
    assert fetched(bundle, 8, 2) == b"89"
    assert "not whole" in raises(ValueError, fetched, bundle, 10, 1)


def test_a_body_that_ends_too_early_is_not_whole():
    bundle = body(b"", [b"0123"], 10)
    assert fetched(bundle, 0, 4) == b"0123"
    assert "not whole" in raises(ValueError, fetched, bundle, 4, 1)
    bundle.pass_over()


def test_the_rest_of_a_body_is_read_and_no_more():
    sent = [b"234", b"GET /"]
    body(b"01", sent, 5).pass_over()
    assert sent == [b"GET /"]


def test_another_sites_page_changes_nothing():
    stage = Stage()
    foreign = (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://192.168.251.1.evil.example"},
        {"Origin": "http://evil.example", "Referer": "http://192.168.251.1/"},
        {"Referer": "http://evil.example/"},
        {"oRIGIN": "http://evil.example"},
        # Our name server sends every name here, so a page may call itself what it likes.
        {"Host": "evil.example", "Origin": "http://evil.example"},
        {"Host": "evil.example"},
        {"Host": "192.168.251.1:80.evil.example"},
    )
    for path in ("/retry", "/back", "/update"):
        for headers in foreign:
            headers["Content-Length"] = "6"
            got = stage.ask("POST", path, b"bundle", **headers)
            assert got.startswith(b"HTTP/1.0 403"), (path, headers)
    assert stage.stopped == []
    assert not stage.page.over


def test_under_another_name_nothing_is_shown():
    stage = Stage()
    for path in ("/", "/log"):
        got = stage.ask("GET", path, Host="evil.example")
        assert got == b"HTTP/1.0 302 Found\r\nLocation: http://192.168.251.1/\r\n\r\n"
