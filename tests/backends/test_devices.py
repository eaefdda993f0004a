"""Which device a name means."""

from __future__ import annotations

import logging

import pytest

from smelt import backends
from smelt.backends import check_device, metal, open_device
from smelt.errors import DeviceError


def be_a(monkeypatch: pytest.MonkeyPatch, system: str, machine: str, has_metal: bool) -> None:
    monkeypatch.delenv("SMELT_DEVICE")
    monkeypatch.setattr(backends.sys, "platform", system)
    monkeypatch.setattr(backends.platform, "machine", lambda: machine)
    monkeypatch.setattr(metal, "why_unavailable", lambda: "" if has_metal else "it is not there")


@pytest.mark.parametrize(
    ("system", "machine", "has_metal", "device"),
    [
        ("darwin", "arm64", True, "metal"),
        ("darwin", "arm64", False, "cpu"),
        ("darwin", "x86_64", True, "cpu"),
        ("linux", "aarch64", True, "cpu"),
    ],
)
def test_auto_is_a_real_gpu(
    monkeypatch: pytest.MonkeyPatch, system: str, machine: str, has_metal: bool, device: str
) -> None:
    be_a(monkeypatch, system, machine, has_metal)
    assert check_device("auto") == device


def refuse(threads: int | None = None) -> None:
    raise DeviceError("this GPU is too old")


def test_a_gpu_that_refuses_leaves_the_cpu(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    be_a(monkeypatch, "darwin", "arm64", True)
    monkeypatch.setattr(metal, "Device", refuse)
    with caplog.at_level(logging.WARNING, "smelt"):
        assert open_device("auto").name == "cpu"
    assert "too old; the CPU is used instead" in caplog.text
    with pytest.raises(DeviceError, match="too old"):
        open_device("metal")


def test_smelt_device_names_what_auto_means(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metal, "Device", refuse)
    for name in ("cpu", "reference"):
        monkeypatch.setenv("SMELT_DEVICE", name)
        assert open_device("auto").name == name
    assert open_device("cpu").name == "cpu"
    monkeypatch.setenv("SMELT_DEVICE", "metal")
    with pytest.raises(DeviceError, match="too old"):
        open_device("auto")
    monkeypatch.setenv("SMELT_DEVICE", "abacus")
    with pytest.raises(DeviceError, match=r"'abacus' is not known.*auto, cpu"):
        open_device("auto")
