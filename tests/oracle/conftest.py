"""The other engine's answers, loaded once a model; without ../shared every test here skips."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from measure import Oracle, oracle


@pytest.fixture(scope="session")
def oracle_of(shared: Path) -> Callable[[str], Oracle]:
    """The Oracle of a model, by its name."""
    return partial(oracle, shared)
