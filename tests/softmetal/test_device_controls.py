"""softmetal.h through ctypes, as the tests of smelt use it; in a process of its own, since one
process can hold the device's classes only once."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from softmetal import flags

HERE = Path(__file__).resolve().parent
DECLARED = re.findall(
    r"^SOFTMETAL_API .*?\b(softmetal_\w+)\(", (HERE / "softmetal.h").read_text(), re.M
)

SCRIPT = """
import ctypes, sys
device = ctypes.CDLL(sys.argv[1])
for name in sys.argv[2:]:
    assert getattr(device, name), name
device.MTLCreateSystemDefaultDevice.restype = ctypes.c_void_p
device.softmetal_seed.restype = ctypes.c_uint64
device.softmetal_log_text.restype = ctypes.c_size_t

assert device.softmetal_live(None) == 0
assert device.MTLCreateSystemDefaultDevice()
assert device.softmetal_live(None) == device.softmetal_live(b"SoftDevice") == 1
text = ctypes.create_string_buffer(100)
device.softmetal_live_classes(text, len(text))
assert text.value == b"SoftDevice 1\\n", text.value
device.softmetal_set_present(0)
assert not device.MTLCreateSystemDefaultDevice()

device.softmetal_set_seed(ctypes.c_uint64(2**63 + 5))
assert device.softmetal_seed() == 2**63 + 5
assert device.softmetal_fault_count() == device.softmetal_log_count(b"buffer") == 0
assert device.softmetal_log_text(None, 0) == 0
print("done")
"""


@pytest.fixture(scope="module")
def library() -> Path:
    if lacks := flags.missing():
        pytest.skip(lacks)
    return flags.build("device", [], shared=True)


def test_through_ctypes(library: Path) -> None:
    assert len(DECLARED) > 25
    command = [sys.executable, "-c", SCRIPT, str(library), *DECLARED]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("done\n", "")
