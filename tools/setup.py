"""Fills .venv: the host's packages, the board's type stubs, and umqtt.simple for the host's VM.

Run by `make` with the system's python3 when .venv is missing or pyproject.toml has changed.
Everything comes from the configured package index; nothing is needed from it afterwards.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
READY = VENV / ".ready"


class SetupError(Exception):
    """What could not be installed, and what may help."""


def main() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 - says so before anything else fails
        sys.exit(f"setup: Python 3.11 or newer is needed, this is {sys.version.split()[0]}")
    import tomllib  # noqa: PLC0415 - after the version check, which older Pythons must reach

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = wanted_packages(project)
    ready = READY.read_text() if READY.exists() else ""
    if ready != wanted:
        try:
            fill(project["tool"]["ampguard"])
        except SetupError as e:
            if not ready:
                sys.exit(f"setup: {e}")
            step(f"{e}; going on with what an earlier set-up installed")
            return
    READY.write_text(wanted)


def wanted_packages(project: dict) -> str:
    """What .venv holds depends on these parts of pyproject.toml alone, not on a linter's rules."""
    parts = [project[part] for part in ("build-system", "project")]
    parts += [project["tool"][part] for part in ("ampguard", "setuptools")]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def fill(config: dict) -> None:
    """SetupError if something can't be had; what was there before is still there then."""
    if not PYTHON.exists():
        step("making .venv")
        run([sys.executable, "-m", "venv", str(VENV)], "is Python's venv module installed?")
    step("installing the host's packages (a minute or two, once)")
    pip("-e", f"{ROOT}[dev]")
    step("installing the type stubs of the board's modules")
    typings, fresh = VENV / "typings", VENV / "typings.new"
    shutil.rmtree(fresh, ignore_errors=True)
    pip("--target", str(fresh), config["typings"])
    shutil.rmtree(typings, ignore_errors=True)
    fresh.rename(typings)
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
            raise SetupError(f"{sdist.name} has SHA-256 {found}, expected {sha256}; not used")
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
        raise SetupError(f"`{' '.join(command)}` failed; {hint}")


def step(words: str) -> None:
    print(f"setup: {words}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
