"""Fixtures that more than one test module uses."""

import signal
from pathlib import Path

import pytest

# Shells start background jobs with SIGINT ignored, which is inherited; tests of Ctrl-C need it.
signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real models, vocabularies and another engine's answers, if it is there."""
    if not SHARED.is_dir():
        pytest.skip("no ../shared folder beside this checkout: real models and oracles are absent")
    return SHARED
