"""Whatever is done to the bytes of a file, it is read or refused, and nothing else happens."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gguf_bytes as g
from smelt.errors import ModelFormatError, UnsupportedModelError
from smelt.gguf_file import GGUFFile, StringArray

SAMPLE = g.sample()
ABSURD_NUMBERS = [0, 1, 2**31, 2**32 - 1, 2**32, 2**60, 2**62, 2**63 - 1, 2**63, 2**64 - 1]


def use_everything(path: Path) -> bool:
    """Open the file and look at all it holds; False where it is refused as it should be."""
    try:
        with GGUFFile(path) as file:
            for key, value in file.metadata.items():
                assert isinstance(key, str)
                look_at(value)
            for tensor in file.tensors.values():
                assert tensor.nbytes == tensor.data.nbytes
                assert tensor.offset + tensor.nbytes <= path.stat().st_size
                assert all(dim > 0 for dim in tensor.shape)
                tensor.data.sum()
    except (ModelFormatError, UnsupportedModelError) as error:
        assert str(path) in str(error)
        return False
    return True


def look_at(value: Any) -> None:
    if isinstance(value, StringArray):
        assert len(value.tolist()) == len(value.raw()) == len(value)
    elif isinstance(value, np.ndarray):
        value.sum()
    else:
        assert isinstance(value, (bool, int, float, str, list))


def damage(content: bytes, chance: random.Random) -> bytes:
    """The file with one to three faults of the kinds that transfers, bugs and attackers cause."""
    damaged = bytearray(content)
    for _ in range(chance.randint(1, 3)):
        place = chance.randrange(len(damaged))
        match chance.randrange(6):
            case 0:
                damaged[place] ^= 1 << chance.randrange(8)
            case 1:
                damaged[place] = chance.randrange(256)
            case 2:
                wide = struct.pack("<Q", chance.choice(ABSURD_NUMBERS))
                damaged[place : place + 8] = wide[: len(damaged) - place]
            case 3:
                narrow = struct.pack("<I", chance.choice([0, 8, 9, 12, 13, 2**31, 2**32 - 1]))
                damaged[place : place + 4] = narrow[: len(damaged) - place]
            case 4:
                origin, length = chance.randrange(len(damaged)), chance.randrange(1, 64)
                damaged[place:place] = damaged[origin : origin + length]
            case _:
                del damaged[place : place + chance.choice([1, 8, 64, len(damaged)])]
        if not damaged:
            break
    return bytes(damaged)


def write_and_use(path: Path, contents: Iterable[bytes]) -> list[bool]:
    outcomes = []
    for content in contents:
        path.unlink(missing_ok=True)  # never rewrite in place what may still be mapped
        path.write_bytes(content)
        outcomes.append(use_everything(path))
    return outcomes


def check_random_damage(folder: Path, count: int) -> None:
    chance = random.Random(count)
    contents = (damage(SAMPLE, chance) for _ in range(count))
    outcomes = write_and_use(folder / "damaged.gguf", contents)
    assert 0.02 < np.mean(outcomes) < 0.98, "the faults have to reach both outcomes"


def test_the_sample_is_sound(tmp_path: Path) -> None:
    assert write_and_use(tmp_path / "sample.gguf", [SAMPLE]) == [True]


def test_random_damage(tmp_path: Path) -> None:
    check_random_damage(tmp_path, 2_000)


@pytest.mark.soak
def test_much_random_damage(tmp_path: Path) -> None:
    check_random_damage(tmp_path, 100_000)


def test_every_number_made_absurd(tmp_path: Path) -> None:
    """Each eight bytes of the part that is parsed, wherever they begin, set to 2^60."""
    end = SAMPLE.index(bytes(range(256)))
    contents = (
        SAMPLE[:place] + struct.pack("<Q", 2**60) + SAMPLE[place + 8 :] for place in range(end)
    )
    write_and_use(tmp_path / "damaged.gguf", contents)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edits=st.lists(
        st.tuples(st.integers(0, len(SAMPLE) - 1), st.binary(min_size=1, max_size=8)), max_size=4
    ),
    end=st.none() | st.integers(0, len(SAMPLE)),
)
def test_edited_files(tmp_path: Path, edits: list[tuple[int, bytes]], end: int | None) -> None:
    content = bytearray(SAMPLE)
    for place, replacement in edits:
        content[place : place + len(replacement)] = replacement
    write_and_use(tmp_path / "edited.gguf", [bytes(content[:end])])


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200))
def test_noise_behind_a_sound_start(tmp_path: Path, content: bytes) -> None:
    sound = struct.pack("<4sIQQ", b"GGUF", 3, 1, 2)
    write_and_use(tmp_path / "noise.gguf", [content, sound[:16] + content, sound + content])
