"""metal/kernel_args.h as Python sees it: its enumerators, and its structs as NumPy types."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

HEADER = Path(__file__).resolve().parents[2] / "metal" / "kernel_args.h"
TYPES = {"int32_t": "<i4", "uint32_t": "<u4", "float": "<f4", "DEVICE_POINTER(uint8_t)": "<u8"}


def _enumerators(text: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for body in re.findall(r"enum\s*\w*\s*\{([^}]*)\}", text):
        value = -1
        for item in filter(None, (part.strip() for part in body.split(","))):
            name, _, given = (part.strip() for part in item.partition("="))
            value = int(given) if given else value + 1
            found[name] = value
    return found


def _structs(text: str) -> dict[str, np.dtype[Any]]:
    found = {}
    for body, name in re.findall(r"typedef struct \{([^}]*)\} (\w+);", text):
        fields = re.findall(r"([\w()]+) (\w+)(?:\[(\d+)\])?;", body)
        found[name] = np.dtype([(f, TYPES[t], (int(n),) if n else ()) for t, f, n in fields])
    return found


_TEXT = re.sub(r"/\*.*?\*/", "", HEADER.read_text("utf-8"), flags=re.DOTALL)
CONST = _enumerators(_TEXT)
STRUCTS = _structs(_TEXT)


def struct(name: str, **values: Any) -> np.ndarray:
    """One struct of that name; fields that are not given are 0."""
    record = np.zeros((), STRUCTS[name])
    for field, value in values.items():
        record[field] = value
    return record
