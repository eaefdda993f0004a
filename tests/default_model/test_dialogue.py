"""Documents: who speaks when, sums that are right, and the packing into rows."""

import random
import re
from collections import Counter

import pytest
from stories.arithmetic import sum_and_answer
from stories.dialogue import make_document

np = pytest.importorskip("numpy")
corpus = pytest.importorskip("corpus", exc_type=ImportError)


def test_users_and_the_storyteller_take_turns() -> None:
    roles = Counter()
    for seed in range(1500):
        document = make_document(random.Random(seed))
        spoken = [turn.role for turn in document]
        assert spoken == ["text"] or spoken == ["user", "assistant"] * (len(spoken) // 2)
        for turn in document:
            assert turn.text == turn.text.strip()
            assert turn.text
            assert not re.search(r"\{|\}|<\||\x01", turn.text), turn.text
        roles.update(spoken)
    assert set(roles) == {"text", "user", "assistant"}


def test_a_seed_makes_one_document() -> None:
    assert make_document(random.Random(7)) == make_document(random.Random(7))


def test_sums_are_right() -> None:
    seen = 0
    for seed in range(800):
        _, answer = sum_and_answer(random.Random(seed))
        match = re.match(r"(\d+) ([+-]) (\d+) = (\d+)", answer)
        if match:
            a, b, result = int(match[1]), int(match[3]), int(match[4])
            assert result == (a + b if match[2] == "+" else a - b)
            assert 0 <= result <= 20
            seen += 1
    assert seen > 100


def test_rows_hold_whole_documents() -> None:
    rng = random.Random(1)
    documents = [[1 | 0x8000] + [rng.randrange(6, 99)] * rng.randrange(60) for _ in range(300)]
    documents.append([1] * 65)  # longer than a row: left out
    rows = corpus.pack(documents, 64)
    assert rows.shape[1] == 64
    again = []
    for row in rows.tolist():
        starts = [i for i, token in enumerate(row) if token == 1 | 0x8000]
        for start, end in zip(starts, [*starts[1:], 64], strict=True):
            document = row[start:end]
            while document[-1] == 2 | 0x8000:
                document.pop()
            again.append(document)
    assert sorted(again) == sorted(documents[:-1])
    assert (rows != 2 | 0x8000).mean() > 0.9
