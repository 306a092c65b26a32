"""Programs of the machine that tests run: mosquitto, Chromium, jq ...

A test that misses one is skipped and says which; with AMPGUARD_REQUIRE_ALL=1, as in .ci/run, it
fails.
"""

import os
import shutil
from typing import NoReturn

import pytest

_ADMINISTRATORS = "/usr/sbin:/sbin"  # not on everybody's PATH, and Debian's mosquitto is there


def required() -> bool:
    """Whether a test that can't run is a failure."""
    return os.environ.get("AMPGUARD_REQUIRE_ALL") == "1"


def program(*names: str) -> str:
    """The path of the first of these names that is a program here."""
    path = f"{os.environ.get('PATH', '')}:{_ADMINISTRATORS}"
    found = next((p for p in (shutil.which(name, path=path) for name in names) if p), None)
    if found is None:
        unavailable(f"{names[0]} is not installed")
    return found


def unavailable(words: str) -> NoReturn:
    """Skips the test, or fails it where everything is required."""
    if required():
        pytest.fail(f"{words}, and AMPGUARD_REQUIRE_ALL is set")
    pytest.skip(words)
