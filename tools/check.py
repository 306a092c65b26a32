"""Everything CI checks: `make test`. What is said behind it goes to pytest (-k portal).

First `make lint`; what every process needs is compiled once meanwhile. Then two runs side by side:
what holds the share of time that is measured (marked `quiet`), and all the rest at a lower
priority, so that it takes what the first one leaves. Up to three tests that fail among so many are
tried once more by themselves, and named: a host that was too busy is no fault of the firmware's.
Exits 1 if any of it fails.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "host_tests"
PYTEST = [sys.executable, "-m", "pytest", "-rs", "--dist", "worksteal"]
QUIET_AT_A_TIME, OTHERS_AT_A_TIME = "2", "7"  # on two cores: most of them wait most of the time
OTHERS_NICENESS = 15
COMPILE = """
from shipping.firmware import compiled
from sim.image import build, default_vm, probe
build(default_vm())
compiled(probe(default_vm()).architecture)
compiled("xtensawin")
"""
NOWHERE: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
QUIET = "pytest.mark.quiet"
FAILED_FILE = "AMPGUARD_FAILED"  # host_tests/conftest.py writes there what failed
FAILED, NOTHING_CHOSEN = 1, 5  # pytest's exit codes; the latter: the words want none of these
AGAIN = 3  # tests; more are no accident


def main() -> int:
    words = sys.argv[1:]
    linting = subprocess.Popen([sys.executable, str(ROOT / "tools" / "lint.py")], cwd=ROOT)
    for prepare in (["-c", COMPILE], ["-m", "pytest", "--collect-only", "-qq"]):
        # What is wrong with either, the tests will tell.
        subprocess.run([sys.executable, *prepare], cwd=ROOT, check=False, **NOWHERE)
    if linting.wait():
        return 1
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryDirectory() as failed:
        quiet = subprocess.Popen(
            [*PYTEST, "-n", QUIET_AT_A_TIME, "-m", "quiet", *words, *quiet_files(words)],
            cwd=ROOT,
            stdout=said,
            stderr=subprocess.STDOUT,
            env=os.environ | {FAILED_FILE: f"{failed}/quiet"},
        )
        try:
            others = subprocess.run(
                [*PYTEST, "-n", OTHERS_AT_A_TIME, "-m", "not quiet", *words],
                cwd=ROOT,
                check=False,
                preexec_fn=lambda: os.nice(OTHERS_NICENESS),
                env=os.environ | {FAILED_FILE: f"{failed}/others"},
            )
            quiet.wait()
        finally:
            quiet.terminate()
            quiet.wait()
            said.seek(0)
            print("\nBeside it, what holds the share of time that is measured:\n" + said.read())
        codes = {quiet.returncode, others.returncode} - {0, NOTHING_CHOSEN}
        if codes == {FAILED}:
            names = [name for f in Path(failed).iterdir() for name in f.read_text().splitlines()]
            return by_themselves(names)
    return 1 if codes else 0


def by_themselves(names: list[str]) -> int:
    """Tries these tests once more, one after the other. 0 if all of them pass."""
    if not 0 < len(names) <= AGAIN:
        return 1
    print("Once more, with nothing beside them:", *names, sep="\n  ", flush=True)
    code = subprocess.run([*PYTEST, *names], cwd=ROOT, check=False).returncode
    if code == 0:
        print("They pass by themselves. Does one of them fail often, it hides something.")
    return code


def quiet_files(words: list[str]) -> list[str]:
    """Where the tests so marked are, unless the words name files: nobody has to read the rest."""
    if any((ROOT / word.partition("::")[0]).exists() for word in words):
        return []
    return [str(path) for path in sorted(TESTS.glob("test_*.py")) if QUIET in path.read_text()]


if __name__ == "__main__":
    sys.exit(main())
