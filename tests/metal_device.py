"""Whether this installation has a Metal device, real or simulated; tests that need one skip."""

from __future__ import annotations

import sys

import pytest

from smelt.backends import metal
from softmetal import flags


def need_metal_device() -> None:
    """Skips the calling test, with the reason, where there is no device "metal"."""
    reason = metal.why_unavailable()
    if not reason:
        return
    if sys.platform == "darwin":
        pytest.skip(reason)
    missing = flags.missing() or "SMELT_SOFTMETAL=1 pip install . builds it"
    pytest.skip(f"no software Metal device in this installation: {missing}")
