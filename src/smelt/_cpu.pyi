"""Types of the bindings in _cpu.pyx. Parameters named as in native/cpu/cpu.h; all are addresses
of C-contiguous arrays where they are not counts."""

page_tokens: int
format_f64: int
rows_tokens: int
rows_logits: int
value_is_logits: int
compiler: str
kv_types: dict[str, int]
record_bytes: tuple[int, int, int]
refusals: dict[int, str]

def op_names() -> list[str]: ...
def record_fields() -> list[tuple[str, int, int, bool]]: ...
def add_statistics(isa: int, rows: int, n: int, statistics: int) -> None: ...
def packed_bytes(fmt: int, n_out: int, n_in: int) -> int: ...
def instruction_sets() -> list[str]: ...
def known_instruction_sets() -> list[str]: ...
def instruction_set_needs(isa: int) -> dict[str, bool]: ...
def unused_features() -> dict[str, bool]: ...
def instruction_set_tiles(isa: int) -> dict[str, int]: ...

class Device:
    def __init__(self, isa: int, n_threads: int) -> None: ...
    def cancel(self, wanted: bool) -> None: ...
    def pack(self, weight_record_address: int, to: int) -> None: ...
    def read_rate(self, memory: int, n_bytes: int, ahead: int) -> float: ...
    def fma_rate(self, rounds: int) -> float: ...
    def dot_rate(self, rounds: int) -> float: ...

class Program:
    device: Device
    max_tokens: int
    max_logits: int
    def __init__(
        self,
        device: Device,
        ops: int,
        n_ops: int,
        values: int,
        n_values: int,
        weights: int,
        n_weights: int,
        max_tokens: int,
        max_logits: int,
        arena_bytes: int,
    ) -> None: ...
    def value_address(self, value: int) -> int: ...

class PagePool:
    page_bytes: int
    def __init__(self, n_layers: int, n_kv_heads: int, head_dim: int, kv_type: int) -> None: ...
    def grow(self, n_pages: int) -> bool: ...
    def read(self, page: int, layer: int, first: int, end: int, keys: int, values: int) -> None: ...

def run_step(
    program: Program,
    pool: PagePool,
    n_tokens: int,
    token_ids: int,
    positions: int,
    sequences: int,
    n_sequences: int,
    page_table: int,
    max_pages: int,
    n_logits: int,
    logit_rows: int,
    logits: int,
) -> int: ...
