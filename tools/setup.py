"""Fills .venv: the host's packages, the board's type stubs, and umqtt.simple for the host's VM.

Run by `make` with the system's python3 when .venv is missing or pyproject.toml has changed.
Everything comes from the configured package index; nothing is needed from it afterwards.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
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
    step("installing the host's packages (half a minute or a minute, once)")
    pip("pip>=25")  # the one that comes with Python 3.11 takes twice as long for all that follows
    with ThreadPoolExecutor() as beside:
        typings = beside.submit(install_typings, config["typings"])
        pip("-e", f"{ROOT}[dev]")
        typings.result()
    shorten_start_of_vm()
    step("fetching umqtt.simple for the host's VM")
    fetch_umqtt(**config["umqtt"])
    step("done")


def install_typings(requirement: str) -> None:
    """The type stubs of the board's modules."""
    typings, fresh = VENV / "typings", VENV / "typings.new"
    shutil.rmtree(fresh, ignore_errors=True)
    pip("--target", str(fresh), requirement)
    shutil.rmtree(typings, ignore_errors=True)
    fresh.rename(typings)


def shorten_start_of_vm() -> None:
    """The VM is an extension of Python and started by a script, hundreds of times by the tests:
    it needs nothing of what a Python looks for at its start."""
    first_line = f"#!{PYTHON} -IS"
    if " " in str(PYTHON) or len(first_line) > 120:
        return  # more than a first line can say: it stays pip's
    (packages,) = (VENV / "lib").glob("python*/site-packages")
    (VENV / "bin" / "micropython").write_text(
        f"{first_line}\nimport sys\n\nsys.path.append({str(packages)!r})\n"
        "from micropython import main\n\nsys.exit(main())\n"
    )


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
    command.append("--no-compile")  # most of it is never imported; what is gets compiled then
    run([*command, *arguments], "is the package index reachable? then run the same command again")


def run(command: list[str], hint: str, quiet: bool = False) -> None:
    done = subprocess.run(
        command,
        check=False,
        stdout=subprocess.DEVNULL if quiet else None,
        env={
            **os.environ,
            "PYTHONWARNINGS": "ignore",
        },  # of editable installs in general
    )
    if done.returncode:
        raise SetupError(f"`{' '.join(command)}` failed; {hint}")


def step(words: str) -> None:
    print(f"setup: {words}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
