"""Places and barriers against brute force: every pair of values, every pair of ops."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smelt.graph.ops import Op, Value
from smelt.graph.placement import ALIGNMENT, Place, place, wait

ROWS = {"tokens": 7, "logits": 2}
PAGE_OPS = {
    "kv_write": "write",
    "rope_kv_write": "write",
    "attention_scores": "read",
    "attention_mix": "read",
    "attention": "read",
}

Places = dict[Value, Place]


@st.composite
def graphs(draw: st.DrawFn) -> list[Op]:
    """Ops with any number of operands among all earlier values, and 0 to 3 results."""
    ops: list[Op] = []
    values: list[Value] = []
    count = draw(st.integers(1, 24))
    for i in range(count):
        kind = draw(st.sampled_from(["matmul", "add", "silu", *PAGE_OPS]))
        inputs = draw(st.lists(st.sampled_from(values), max_size=3)) if values else []
        n_outputs = 1 if i == count - 1 else draw(st.sampled_from([0, 1, 1, 1, 2, 3]))
        outputs = [
            Value(
                f"v{i}.{j}",
                tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=2))),
                draw(st.sampled_from(["tokens", "tokens", "logits"])),
            )
            for j in range(n_outputs)
        ]
        ops.append(
            Op(kind, tuple(inputs), tuple(outputs), layer=draw(st.sampled_from([-1, 0, 0, 1])))
        )
        values += outputs
    return ops


def lifetimes(ops: Sequence[Op]) -> dict[Value, tuple[int, int]]:
    """From the op that makes a value to the last that reads it, both included."""
    born = {value: at for at, op in enumerate(ops) for value in op.outputs}
    died = dict(born)
    for at, op in enumerate(ops):
        for value in op.inputs:
            died[value] = at
    return {value: (born[value], died[value]) for value in born}


def bytes_of(spot: Place) -> set[int]:
    return set(range(spot.offset // ALIGNMENT, -(-(spot.offset + spot.nbytes) // ALIGNMENT)))


@settings(deadline=None, max_examples=300)
@given(graphs(), st.booleans())
def test_live_values_never_share(ops: list[Op], reuse: bool) -> None:
    places = place(ops, ROWS, reuse)
    alive = lifetimes(ops)
    result = ops[-1].outputs[0]
    assert set(places) == set(alive) - {result}
    for value, spot in places.items():
        assert spot.offset % ALIGNMENT == 0 and spot.offset >= 0
        assert spot.nbytes >= value.width * ROWS[value.rows] * 4
    for a, b in combinations(places, 2):
        together = alive[a][0] <= alive[b][1] and alive[b][0] <= alive[a][1]
        if together or not reuse:
            assert not bytes_of(places[a]) & bytes_of(places[b]), (a, b)


@settings(deadline=None, max_examples=100)
@given(graphs(), st.data())
def test_a_kept_value_is_whole_at_the_end(ops: list[Op], data: st.DataObject) -> None:
    values = [value for op in ops for value in op.outputs]
    keep = data.draw(st.sets(st.sampled_from(values)))
    places, alive = place(ops, ROWS, keep=keep), lifetimes(ops)
    for kept in keep & set(places):
        for other in set(places) - {kept}:
            if alive[other][1] >= alive[kept][0]:  # not dead before it was made
                assert not bytes_of(places[kept]) & bytes_of(places[other]), (kept, other)


@settings(deadline=None)
@given(graphs())
def test_reuse_never_costs_memory(ops: list[Op]) -> None:
    size = [
        max((p.offset + p.nbytes for p in place(ops, ROWS, reuse).values()), default=0)
        for reuse in (True, False)
    ]
    assert size[0] <= size[1] == sum(p.nbytes for p in place(ops, ROWS).values())


def chain(n: int) -> list[Op]:
    values = [Value(f"v{i}", (16,)) for i in range(n)]
    return [Op("silu", tuple(values[i - 1 : i]), (values[i],)) for i in range(n)]


def test_a_chain_needs_two_places() -> None:
    places = place(chain(20), {"tokens": 1, "logits": 1})
    assert {p.offset for p in places.values()} == {0, ALIGNMENT}


def test_more_rows_more_room() -> None:
    a, b = (Value(name, (16,), rows) for name, rows in (("a", "tokens"), ("b", "logits")))
    places = place([Op("x", (), (a, b)), Op("y", (a, b), (Value("c", (1,)),))], ROWS)
    assert (places[a].nbytes, places[b].nbytes) == (7 * 64, 2 * 64)


@pytest.mark.parametrize(
    ("a", "b", "meets"),
    [((0, 64), (64, 64), False), ((0, 65), (64, 64), True), ((64, 64), (0, 512), True)],
)
def test_meets(a: tuple[int, int], b: tuple[int, int], meets: bool) -> None:
    assert Place(*a).meets(Place(*b)) is meets
    assert Place(*b).meets(Place(*a)) is meets


# --- barriers


def conflict(a: Op, b: Op, places: Places) -> bool:
    """Whether b, which comes later, must not run beside a: byte by byte, page by page."""

    def touched(values: Sequence[Value]) -> set[int]:
        return set().union(*(bytes_of(places[v]) for v in values if v in places))

    read_a, written_a = touched(a.inputs), touched(a.outputs)
    read_b, written_b = touched(b.inputs), touched(b.outputs)
    if read_b & written_a or written_b & (written_a | read_a):
        return True
    pages = {PAGE_OPS.get(a.kind), PAGE_OPS.get(b.kind)}
    return a.layer == b.layer and None not in pages and "write" in pages


@settings(deadline=None, max_examples=300)
@given(graphs(), st.booleans())
def test_waits(ops: list[Op], reuse: bool) -> None:
    places = place(ops, ROWS, reuse)
    flags = wait(ops, places)
    assert len(flags) == len(ops) and not flags[0]
    for i, j in combinations(range(len(ops)), 2):
        if conflict(ops[i], ops[j], places):
            assert any(flags[i + 1 : j + 1]), f"op {j} does not wait for op {i}"
    last = 0
    for j, flag in enumerate(flags):
        if flag:
            assert any(conflict(ops[i], ops[j], places) for i in range(last, j)), f"op {j} waits"
            last = j


def flags_of(*ops: Op) -> list[bool]:
    return wait(ops, place(ops, ROWS, reuse=False))


def test_independent_ops_do_not_wait() -> None:
    x, *ys = (Value(name, (4,)) for name in "xabcd")
    ops = [Op("embed", (), (x,)), *(Op("silu", (x,), (y,)) for y in ys)]
    assert flags_of(*ops) == [False, True, False, False, False]


@pytest.mark.parametrize(
    ("first", "second", "waits"),
    [
        ("kv_write", "attention", True),
        ("kv_write", "attention_scores", True),
        ("kv_write", "attention_mix", True),
        ("rope_kv_write", "attention", True),
        ("attention", "kv_write", True),
        ("attention_mix", "rope_kv_write", True),
        ("kv_write", "kv_write", True),
        ("attention", "attention", False),
        ("attention_scores", "attention_mix", False),
    ],
)
def test_pages_of_a_layer(first: str, second: str, waits: bool) -> None:
    y = Value("y", (4,))
    assert flags_of(Op(first, layer=1), Op(second, (), (y,), layer=1)) == [False, waits]
    assert flags_of(Op(first, layer=0), Op(second, (), (y,), layer=1)) == [False, False]
