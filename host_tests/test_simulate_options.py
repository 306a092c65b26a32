"""What the simulator's command line takes and refuses, as the person typing it sees it."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from programs import unavailable

from sim.options import OptionError, parse

ROOT = Path(__file__).resolve().parent.parent
TOOL = ROOT / "tools" / "simulate.py"


def run(*words: str, tool: Path = TOOL, python: str = sys.executable) -> tuple[int, str, str]:
    done = subprocess.run(
        [python, str(tool), *words], capture_output=True, text=True, timeout=180, check=False
    )
    return done.returncode, done.stdout, done.stderr


def refusal(words: str) -> str:
    with pytest.raises(OptionError) as caught:
        parse(words.split())
    return str(caught.value)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--amp 3", "unrecognized arguments: --amp 3"),
        ("--fo 3", "unrecognized arguments"),
        ("16,10,6", "unrecognized arguments"),
        ("--load", "expected one argument"),
        ("--load 16,10", "expected the currents of L1, L2, L3 in A, like 16,10,6"),
        ("--load a,b,c", "expected the currents"),
        ("--load nan,1,1", "expected -129 to 129 A"),
        ("--load 130,1,1", "expected -129 to 129 A, where the clamps of the home variant clip"),
        ("--variant public --load 1,1,-517", "expected -516 to 516 A"),
        ("--phases 1 --load 1,2", "or that of L1 alone"),
        ("--variant office", "expected home or public"),
        ("--phases 2", "expected 1 or 3"),
        ("--serial AG1", "ending in five digits and G"),
        ("--serial ag100042317G", "A-Z, 0-9 and -"),
        ("--serial AG1000423179999999999999999999942317G", "6 to 24"),
        ("--pin 1234567", "eight printable ASCII characters"),
        ("--pin åtta-777", "eight printable ASCII characters"),
        ("--heap lots", "expected a size like 100wk"),
        ("--heap 1k", "expected 20k to 60m"),
        ("--vm /no/such/vm", "expected a MicroPython binary"),
        ("--vm pyproject.toml", "expected a MicroPython binary"),
        ("--lib host_tests", "expected a folder that holds umqtt/simple.py"),
        ("--for soon", "expected 0.1 to 999999 s"),
        ("--for 0", "expected 0.1 to 999999 s"),
        ("--for -3", "expected 0.1 to 999999 s"),
        ("--for inf", "expected 0.1 to 999999 s"),
        ("--replay no/such.cfg", "no such file"),
        ("--replay pyproject.toml --load 1,1,1", "exclude each other"),
        ("--nominal 230", "expected --replay FILE.cfg with it"),
        ("--amps 16", "expected --replay FILE.cfg with it"),
        ("--replay pyproject.toml --amps 200", "expected 0.1 to 129 A"),
        ("--replay pyproject.toml --nominal 0", "expected 10 to 390 V"),
        ("--broker localhost", "expected HOST:PORT"),
        ("--broker :1883", "expected HOST:PORT"),
        ("--broker localhost:99999", "expected HOST:PORT"),
        ("--portal http", "expected a port"),
        ("--control 0", "expected a port"),
        ("--dns 70000", "expected a port"),
        ("--dns 18253 --portal 18253", "given twice"),
        ("--state pyproject.toml", "is no folder"),
        ("--state /proc/flash", "can't write there"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_with_what_was_expected(
    words: str, expected: str
) -> None:
    assert expected in refusal(words)


@pytest.mark.parametrize("name", ["portal", "control", "dns"])
def test_a_busy_port_is_refused(name: str) -> None:
    kind = socket.SOCK_DGRAM if name == "dns" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as s:
        s.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            s.listen()
        port = s.getsockname()[1]
        assert f"--{name} {port}: address already in use" in refusal(f"--{name} {port}")


def test_ports_that_are_not_given_are_free_and_differ() -> None:
    taken = parse([])
    with socket.create_server(("127.0.0.1", taken.portal)):
        o = parse([])
    assert o.portal != taken.portal
    assert len({o.portal, o.dns, o.control}) == 3


def test_an_export_is_a_negative_load() -> None:
    assert parse(["--load", "-5,0,2.5"]).load == (-5, 0, 2.5)


def test_a_load_beyond_the_clamps_range_is_taken_and_said() -> None:
    o = parse(["--load", "10,-120,6"])
    assert o.load == (10, -120, 6)
    assert "L2 beyond the clamps' 100 A" in o.note
    assert not parse(["--variant", "public", "--load", "10,-120,6"]).note


def test_a_single_phase_site_takes_one_current() -> None:
    assert parse(["--phases", "1", "--load", "25"]).load == (25, 0, 0)


def test_a_board_in_a_state_folder_keeps_the_identity_it_was_made_with(tmp_path: Path) -> None:
    made = {"serial": "AG200099999G", "pin": "ABCDEFGH", "variant": "public", "phases": 1}
    (tmp_path / "factory.json").write_text(json.dumps(made))
    o = parse(["--state", str(tmp_path)])
    assert (o.serial, o.pin, o.variant, o.phases) == ("AG200099999G", "ABCDEFGH", "public", 1)
    assert "was made with AG200099999G" in refusal(f"--state {tmp_path} --serial AG100042317G")
    assert "was made with 1" in refusal(f"--state {tmp_path} --phases 3")
    (tmp_path / "factory.json").write_text("{")
    assert "is not JSON" in refusal(f"--state {tmp_path}")


def test_a_state_folder_that_can_t_be_used_is_refused(tmp_path: Path) -> None:
    assert parse(["--state", str(tmp_path / "new" / "board")]).state == tmp_path / "new" / "board"
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["--lode", "16"],
        ["--vm", str(shutil.which("cat"))],
        ["--replay", str(TOOL)],
        ["--serial", "AG1"],
    ],
)
def test_the_tool_refuses_in_one_line_with_exit_code_2(words: list[str]) -> None:
    code, out, err = run("--json", *words)
    assert (code, out) == (2, "")
    assert err.startswith("simulate: ")
    assert err.count("\n") == 1


def test_a_malformed_recording_is_refused_in_one_line(tmp_path: Path) -> None:
    cfg = tmp_path / "bad.cfg"
    cfg.write_text("feeder,recorder,1999\nmany,6A,0D\n")
    cfg.with_suffix(".dat").write_text("1,2,3\n")
    code, out, err = run("--replay", str(cfg))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "COMTRADE" in err


def test_without_the_hosts_packages_it_says_how_to_get_them(tmp_path: Path) -> None:
    tool = tmp_path / "tools" / "simulate.py"
    tool.parent.mkdir()
    shutil.copy(TOOL, tool)
    shutil.copy(TOOL.with_name("own_python.py"), tool.parent)
    assert run(tool=tool)[::2] == (
        2,
        "simulate: the host's packages are not installed: run `make setup` first\n",
    )


def test_any_python_starts_it_in_the_projects_own() -> None:
    other = Path(sys.base_prefix) / "bin" / "python3"
    if not other.exists() or not (ROOT / ".venv").exists():
        unavailable("needs a Python outside .venv")
    code, out, _ = run("--help", python=str(other))
    assert code == 0
    assert "--replay FILE.cfg" in out
    assert os.environ.get("COLUMNS") is None or "--control PORT" in out


def test_two_simulators_started_together_do_not_want_the_same_ports() -> None:
    show = "import sys; from sim.options import parse; o = parse([]); "
    show += "print(o.portal, o.dns, o.control, flush=True); sys.stdin.read()"
    both = [
        subprocess.Popen(
            [sys.executable, "-c", show],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for _ in range(2)
    ]
    ports: list[str] = []
    for process in both:
        assert process.stdout is not None
        ports += process.stdout.readline().split()
    for process in both:
        process.communicate()
    assert len(set(ports)) == 6
