"""Types of the bindings in _metal.pyx. Addresses are of C-contiguous arrays that outlive a call."""

from typing import TypedDict

from .backends.base import Step

page_tokens: int
top_max: int
refusals: dict[int, str]

class MetalError(Exception): ...

class Info(TypedDict):
    name: str
    max_buffer_bytes: int
    working_set_bytes: int
    allocated_bytes: int
    apple_family: int
    residency_sets: bool
    from_source: bool

class Statistics(TypedDict):
    dispatches: int
    barriers: int
    encoded_ahead: bool
    encode_seconds: float
    gpu_seconds: float

class Device:
    def __init__(self, metallib: str | None, source: str | None) -> None: ...
    def info(self) -> Info: ...
    def begin_capture(self, path: str) -> None: ...
    def end_capture(self) -> None: ...

class Buffer:
    def __init__(self, device: Device, address: int, length: int, copy: bool) -> None: ...

class Program:
    def __init__(
        self,
        device: Device,
        ops: int,
        n_ops: int,
        values: int,
        n_values: int,
        weights: int,
        n_weights: int,
        places: list[tuple[Buffer, int]],
        max_tokens: int,
        max_logits: int,
        arena_bytes: int,
    ) -> None: ...
    def value_address(self, value: int) -> int: ...
    def statistics(self) -> Statistics: ...

class PagePool:
    page_bytes: int
    def __init__(
        self, device: Device, n_layers: int, n_kv_heads: int, head_dim: int, f16: bool
    ) -> None: ...
    def grow(self, n_pages: int) -> None: ...

def run_step(program: Program, pool: PagePool, step: Step, k: int, result: int) -> int: ...
def profile_step(program: Program, pool: PagePool, step: Step, seconds: int) -> int: ...
