from typing import Any, TypeAlias

STRING: int
ARRAY: int
VALUE_CODES: dict[int, str]

Pair: TypeAlias = tuple[bytes, int, int, int, int, int]
TensorRecord: TypeAlias = tuple[bytes, tuple[int, ...], str, bool, int, int, int]

def read_index(
    path: str, address: int, nbytes: int
) -> tuple[int, int, list[Pair], list[TensorRecord]]: ...
def read_strings(
    path: str, address: int, nbytes: int, offset: int, count: int, raw: bool
) -> tuple[list[Any], int]: ...
