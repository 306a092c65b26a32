"""The clock: sentences that hold on every interpreter."""

from expect import Part

from connectivity.clock import Clock
from device.health import _drift

_2026 = 1767225600_000  # ms
_2000 = 946684800


class World:
    """True time, the board's RTC and ticks, and time servers with a way to them."""

    def __init__(self, rtc_s=0, fraction_ms=0, ppm=0):
        self.true_us = (_2026 + fraction_ms) * 1000
        self.rtc_us = rtc_s * 1000_000
        self.up_us = 0x3FFFFFFF * 1000 - 5000_000  # ticks_ms wraps soon
        self.ppm = ppm
        self.delay_ms = 20
        self.dead = []  # servers that do not answer
        self.lies = {}  # server -> seconds it is wrong
        self.asked = []
        self.names = {"pool.ntp.org": "1.1.1.1", "time.google.com": "2.2.2.2"}
        self.names["time.cloudflare.com"] = "3.3.3.3"
        self.host = None  # ntptime's
        self.timeout = None

    def pass_ms(self, ms):
        self.true_us += ms * 1000
        self.up_us += ms * 1000
        self.rtc_us += ms * 1000 + int(ms * self.ppm / 1000)

    # the time module

    def ticks_ms(self):
        return (self.up_us // 1000) & 0x3FFFFFFF

    def ticks_diff(self, end, start):
        return ((end - start + 0x20000000) & 0x3FFFFFFF) - 0x20000000

    def ticks_add(self, ticks, delta):
        return (ticks + delta) & 0x3FFFFFFF

    def gmtime(self, seconds):
        return (2000 + seconds // 31557600, 1, 1, 0, 0, 0, 0, 1)

    # ntptime and socket share the names time() has in both modules

    def time_ns(self):
        return self.rtc_us * 1000

    def getaddrinfo(self, host, port):
        if host not in self.names:
            raise OSError(-2)
        return [(2, 1, 0, host, (self.names[host], port))]


class NtpTime:
    def __init__(self, world):
        self.world = world
        self.host = "pool.ntp.org"
        self.timeout = 1

    def time(self):
        world = self.world
        world.asked.append((self.host, world.true_us // 1000))
        if self.host in world.dead:
            world.pass_ms(int(self.timeout * 1000))
            raise OSError(116)
        world.pass_ms(world.delay_ms)
        answer = world.true_us // 1000_000 - _2000 + world.lies.get(self.host, 0)
        world.pass_ms(world.delay_ms)
        return answer

    def settime(self):
        self.world.rtc_us = self.time() * 1000_000


def setting(gateway=None, **options):
    world = World(**options)
    ntptime = NtpTime(world)
    board_time = Part(
        ticks_ms=world.ticks_ms,
        ticks_diff=world.ticks_diff,
        ticks_add=world.ticks_add,
        gmtime=world.gmtime,
        time_ns=world.time_ns,
        time=lambda: world.rtc_us // 1000_000,
    )
    return world, Clock(ntptime, board_time, world, gateway)


def run(world, clock, for_s):
    """What the uplink does: asks when the clock says so, looking every 10 ms."""
    for _ in range(for_s * 100):
        world.pass_ms(10)
        if clock.due():
            clock.sync()


def asked_in_an_hour(world, clock):
    began = world.true_us
    while world.true_us - began < 3600_000_000:
        world.pass_ms(max(world.ticks_diff(clock.next_ms, world.ticks_ms()), 1))
        clock.sync()
    return len(world.asked)


def error_ms(world, clock):
    return clock.unix_ms() - world.true_us // 1000


def test_before_a_server_answered_there_is_no_time():
    _, clock = setting()
    assert not clock.is_set
    assert clock.unix_ms() is None


def test_one_answer_sets_the_clock_to_within_a_second():
    for fraction_ms in (0, 1, 499, 500, 999):
        world, clock = setting(fraction_ms=fraction_ms)
        clock.resolve()
        assert clock.due()
        assert clock.sync()
        assert abs(error_ms(world, clock)) <= 560, fraction_ms
        assert abs(world.rtc_us // 1000_000 + _2000 - world.true_us // 1000_000) <= 11


def test_a_few_more_answers_set_it_to_within_a_tenth_of_a_second():
    for fraction_ms in range(0, 1000, 97):
        world, clock = setting(fraction_ms=fraction_ms)
        clock.resolve()
        run(world, clock, 60)
        assert abs(error_ms(world, clock)) <= 60, (fraction_ms, error_ms(world, clock))
        assert len(world.asked) <= 10


def test_questions_keep_the_distance_time_servers_ask_for():
    world, clock = setting(fraction_ms=321)
    clock.resolve()
    run(world, clock, 60)
    at = [ms for _, ms in world.asked[2:]]  # the first sets the RTC with a second question
    assert min(at[n + 1] - at[n] for n in range(len(at) - 1)) >= 4000


def test_a_crystal_that_drifts_is_followed_for_days():
    for ppm in (-40, 40):
        world, clock = setting(fraction_ms=700, ppm=ppm)
        clock.resolve()
        run(world, clock, 60)
        worst = 0
        asked = len(world.asked)
        hours = 0
        while hours < 48:
            idle_ms = world.ticks_diff(clock.next_ms, world.ticks_ms())
            hours += idle_ms / 3600_000
            world.pass_ms(idle_ms)
            worst = max(worst, abs(error_ms(world, clock)))
            clock.sync()
        assert worst <= 200, (ppm, worst)
        assert len(world.asked) - asked < 48 * 5


def test_the_drift_of_the_crystal_is_told_once_it_can_be():
    for ppm in (-40, 3, 40):
        world, clock = setting(fraction_ms=700, ppm=ppm)
        clock.resolve()
        seen = []
        hours = 0
        while hours < 48:
            idle_ms = max(world.ticks_diff(clock.next_ms, world.ticks_ms()), 1)
            hours += idle_ms / 3600_000
            world.pass_ms(idle_ms)
            clock.sync()
            told = _drift(clock.first, clock.last)
            if hours < 5.9:
                assert told is None
            elif told is not None:
                seen.append(told)
        assert max(abs(told - ppm) for told in seen) <= 6, (ppm, seen)
        assert abs(seen[-1] - ppm) <= 1, (ppm, seen)


def test_another_way_to_the_servers_is_tried_at_once():
    world, clock = setting()
    world.dead = ["1.1.1.1"]
    clock.resolve()
    run(world, clock, 600)
    assert not clock.due()
    clock.again()
    assert clock.due()
    world.dead = []
    clock.sync()
    world.dead = ["1.1.1.1"]
    run(world, clock, 10)
    clock.again()  # a clock that is set has time
    assert not clock.due()


def test_a_server_that_does_not_answer_costs_a_second_at_most():
    world, clock = setting()
    clock.resolve()
    world.dead = ["1.1.1.1"]
    before = world.true_us
    assert not clock.sync()
    assert world.true_us - before <= 1000_000
    assert "1.1.1.1" in clock.problem


def test_the_next_server_is_asked_when_one_is_dead():
    world, clock = setting()
    world.dead = ["1.1.1.1", "2.2.2.2"]
    for _ in range(3):
        clock.resolve()
    run(world, clock, 20)
    assert clock.is_set
    assert clock.problem == ""


def test_where_public_servers_are_blocked_the_brokers_host_is_asked():
    world, clock = setting()
    world.names["broker.lan"] = "192.168.1.10"
    world.dead = ["1.1.1.1", "2.2.2.2", "3.3.3.3"]
    started_us = world.true_us
    while not clock.is_set and world.true_us - started_us < 120_000_000:
        world.pass_ms(1000)
        if clock.due():  # what the uplink does before each attempt
            clock.resolve("broker.lan")
            clock.sync()
    assert world.true_us - started_us < 60_000_000
    assert abs(error_ms(world, clock)) <= 560
    assert [host for host, _ in world.asked] == world.dead + ["192.168.1.10"] * 2


def test_where_no_name_is_known_the_router_is_asked():
    world, clock = setting(lambda: "192.168.1.1")
    world.names = {}
    clock.resolve("broker.lan")
    run(world, clock, 2)
    assert clock.is_set
    assert {host for host, _ in world.asked} == {"192.168.1.1"}
    world, clock = setting(lambda: None)  # none was named
    world.names = {}
    clock.resolve("broker.lan")
    assert not clock.sync()
    assert world.asked == []


def test_without_any_server_the_questions_grow_rare():
    world, clock = setting()
    world.dead = ["1.1.1.1"]
    clock.resolve()
    assert 50 <= asked_in_an_hour(world, clock) <= 70  # once a minute: TLS waits for it
    assert not clock.is_set
    world, clock = setting(rtc_s=_2026 // 1000 - _2000)
    world.dead = ["1.1.1.1"]
    clock.resolve()
    assert 8 <= asked_in_an_hour(world, clock) <= 16


def test_without_names_nobody_is_asked_and_it_is_said():
    world, clock = setting()
    world.names = {}
    clock.resolve()
    assert not clock.sync()
    assert world.asked == []
    assert "pool.ntp.org" in clock.problem
    assert not clock.due()


def test_a_server_of_another_century_is_not_believed():
    world, clock = setting()
    world.lies["1.1.1.1"] = -10 * 31557600
    clock.resolve()
    assert not clock.sync()
    assert "2016" in clock.problem
    world.lies["1.1.1.1"] = 120 * 31557600
    assert not clock.sync()


def test_the_time_runs_through_a_reset_that_is_no_power_cut():
    world, clock = setting(rtc_s=_2026 // 1000 - _2000)
    assert clock.is_set
    assert abs(error_ms(world, clock)) <= 1


def test_a_clock_set_wrong_before_is_set_right():
    world, clock = setting(rtc_s=_2026 // 1000 - _2000 + 86400)
    clock.resolve()
    run(world, clock, 60)
    assert abs(error_ms(world, clock)) <= 60
    assert abs(world.rtc_us // 1000_000 + _2000 - world.true_us // 1000_000) <= 11


def test_a_server_that_was_wrong_is_forgotten_when_others_contradict_it():
    world, clock = setting()
    world.lies["1.1.1.1"] = 5
    for _ in range(3):
        clock.resolve()
    clock.sync()
    world.lies = {}
    run(world, clock, 60)
    assert abs(error_ms(world, clock)) <= 60
