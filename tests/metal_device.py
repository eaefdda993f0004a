"""Whether this installation has a Metal device, real or simulated; tests that need one skip."""

from __future__ import annotations

import os
import sys
from functools import cache

import pytest

from smelt.backends import metal
from smelt.errors import DeviceError
from softmetal import flags


def need_metal_device() -> None:
    """Skips the calling test, with the reason, where there is no device "metal"; fails it where
    SMELT_TEST_METAL=1 says that there has to be one."""
    reason = metal.why_unavailable()
    if not reason and sys.platform == "darwin":
        reason = unfit_gpu()
    if not reason:
        return
    if os.environ.get("SMELT_TEST_METAL", "") not in ("", "0"):
        pytest.fail(f"SMELT_TEST_METAL=1, but there is no Metal device: {reason}")
    if sys.platform == "darwin":
        pytest.skip(f"no Metal device: {reason}")
    missing = flags.missing() or "SMELT_SOFTMETAL=1 pip install . builds it"
    pytest.skip(f"no software Metal device in this installation: {missing}")


@cache
def unfit_gpu() -> str:
    """Why this Mac's GPU cannot be used, as that of a virtual machine may not be; any other refusal
    is a failure of the tests."""
    try:
        metal.Device()
    except DeviceError as error:
        if 'use device="cpu"' in str(error) or "no GPU" in str(error):
            return str(error)
        raise
    return ""
