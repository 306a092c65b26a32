"""A file from a web server: sentences that hold on every interpreter."""

from expect import Part, raises

from cloud.download import Download
from cloud.faults import Fault
from cloud.refused import Refused
from cloud.update_request import parse

FILE = bytes(range(256)) * 100
SIZE = len(FILE)


class Clock:
    def __init__(self):
        self.now = 0

    def ticks_ms(self):
        return self.now

    def ticks_diff(self, end, start):
        return end - start


class Server:
    """Answers each connection with the next of `answers`: a function of the first byte asked for
    that returns bytes; an int after it in the list: the connection breaks after so many."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.dialled = []
        self.asked = []

    def dial(self, tls, host, port):
        self.dialled.append((tls, host, port))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, str):
            raise Fault("refused", answer)
        said = bytearray()
        state = {"body": None}

        def flush():
            text = bytes(said).decode()
            self.asked.append(text)
            line = text[text.index("Range: ") :].partition("\r\n")[0]
            state["body"] = answer(int(line[13:-1]))

        def receive(into):
            body = state["body"]
            if body is None:
                return 0
            if not body:
                raise Fault("closed", "the broker closed the connection")
            count = min(len(into), len(body), 700)
            into[:count] = body[:count]
            state["body"] = body[count:]
            return count

        return Part(
            write=lambda text: said.extend(text.encode()),
            flush=flush,
            receive=receive,
            close=lambda: None,
        )


def head(*lines):
    return ("HTTP/1.1 " + "\r\n".join(lines) + "\r\n\r\n").encode()


def whole(start):
    return head("200 OK", f"Content-Length: {SIZE}") + FILE


def part(start):
    span = f"Content-Range: bytes {start}-{SIZE - 1}/{SIZE}"
    return head("206 Partial Content", span, "X: y") + FILE[start:]


def broken(after):
    return lambda start: part(start)[:after]


def fetched(server, offset=0, size=SIZE, clock=None):
    """Reads `size` bytes from `offset` on, with all the patience there is."""
    clock = clock or Clock()
    download = Download(parse("http://web.lan:8080/a/b.bin"), server.dial, clock)
    view = memoryview(bytearray(512))
    found = b""
    for _ in range(5000):
        count = download.read(offset + len(found), view, min(512, size - len(found)))
        found += bytes(view[:count])
        clock.now += 1 if count else 500
        if len(found) == size:
            download.close()
            return found
    raise AssertionError("it never ends")


def refusal(server, offset=0):
    return raises(Refused, fetched, server, offset)


def test_a_url_is_taken_apart_or_refused():
    assert parse("http://web.lan/x") == (False, "web.lan", 80, "/x")
    assert parse("https://a.example:8443/b/c?d=e#f") == (True, "a.example", 8443, "/b/c?d=e")
    assert parse("https://a.example") == (True, "a.example", 443, "/")
    for url in ("", "web.lan/x", "ftp://web.lan/x", "http:///x", "http://web:0/x", "http://w:x/",
                "http://web:70000/", "http://me@web/x", "http://web/a b", "http://web/\n",
                "http://web/" + "x" * 400):  # fmt: skip
        assert "expected http" in raises(ValueError, parse, url), url


def test_a_file_is_read_whole_and_from_any_byte_on():
    for answer in (whole, part):
        assert fetched(Server(answer)) == FILE
        assert fetched(Server(answer), 10_000, 900) == FILE[10_000:10_900]
    server = Server(part)
    fetched(server)
    assert server.dialled == [(False, "web.lan", 8080)]
    request = server.asked[0]
    assert request.startswith("GET /a/b.bin HTTP/1.1\r\nHost: web.lan:8080\r\n")
    assert request.endswith("\r\n\r\n")


def test_a_connection_that_breaks_goes_on_where_it_was():
    server = Server(broken(9000), broken(3000), "it is down", broken(70), part)
    assert fetched(server) == FILE
    asked = [text.split("bytes=")[1].split("-")[0] for text in server.asked]
    assert asked[0] == "0"
    assert [int(a) > 0 for a in asked[1:]] == [True] * 3
    assert fetched(Server(lambda start: whole(start)[:9000], whole)) == FILE
    often = Server(broken(1500))
    assert fetched(often) == FILE
    assert len(often.asked) > 12  # patience begins anew with every byte of use


def test_a_part_far_ahead_is_asked_for_anew_and_a_near_one_read_over():
    server = Server(part)
    clock = Clock()
    download = Download(parse("http://web.lan/x"), server.dial, clock)
    view = memoryview(bytearray(512))

    def read(offset):
        for _ in range(200):
            count = download.read(offset, view, 4)
            if count:
                return bytes(view[:count])
        raise AssertionError("nothing came")

    assert read(0) == FILE[:4]
    assert read(3000) == FILE[3000:3004]
    assert len(server.asked) == 1
    assert read(24_000) == FILE[24_000:24_004]
    assert len(server.asked) == 2
    assert read(7) == FILE[7:11]
    assert len(server.asked) == 3


def test_what_a_server_may_answer_is_told_in_words():
    for answer, words in (
        (head("404 Not Found"), "the server says 404 Not Found"),
        (head("403 Forbidden"), "the server says 403 Forbidden"),
        (head("301 Moved", "Location: https://other/x"), "sends us on to https://other/x"),
        (head("302 Found"), "the server says 302"),
        (head("416 Range Not Satisfiable"), "ends before byte 100"),
        (head("200 OK", "Content-Length: 100"), "has only 100 bytes"),
        (head("200 OK", "Transfer-Encoding: chunked"), "no plain file but chunked"),
        (head("200 OK", "Content-Encoding: gzip"), "no plain file but gzip"),
        (head("206 Partial Content", "Content-Range: bytes 7-9/10"), "another part"),
        (head("206 Partial Content"), "does not say which"),
        (head("503 Busy"), "the server says 503 Busy, 3 times"),
        (b"SSH-2.0-OpenSSH\r\n", "no HTTP"),
        (b"HTTP/1.1 OK\r\n\r\n", "no HTTP"),
        (b"x" * 2000, "no HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 100, "no HTTP"),
        (b"HTTP/1.1 200 OK\r\nA\xff: b\r\n", "closed the connection, 3 times"),
    ):
        found = refusal(Server(lambda start, said=answer: said), 100)
        assert words in found, (answer, found)


def test_a_server_that_is_not_there_is_given_up_soon_and_one_that_was_there_late():
    clock = Clock()
    words = raises(Refused, fetched, Server("web.lan refuses connections"), 0, 10, clock)
    assert words == "web.lan refuses connections, 3 times"
    assert clock.now < 10_000
    clock = Clock()
    server = Server(broken(5000), "web.lan refuses connections")
    words = raises(Refused, fetched, server, 0, SIZE, clock)
    assert words.endswith("12 times")
    assert 300_000 < clock.now < 900_000


def test_a_server_that_says_nothing_is_left():
    words = refusal(Server(lambda start: None))
    assert words == "the server fell silent, 3 times"


def test_a_file_that_ends_early_is_told():
    def short(start):
        return head("200 OK", "Content-Length: 5000") + FILE[:5000]

    assert "has only 5000 bytes" in refusal(Server(short))
    # A server that promises more than it has, each time.
    words = refusal(Server(lambda start: whole(start)[:6000]))
    assert words == "the server closed the connection, 12 times"
