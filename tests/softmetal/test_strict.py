"""The front end refuses what Apple's compiler refuses, by line, and takes what MSL allows."""

import re
from pathlib import Path

import pytest

from softmetal.msl import Library, MslError, available, unavailable_reason

pytestmark = pytest.mark.skipif(not available, reason=unavailable_reason)

PLANTED = Path(__file__).parent / "planted"
HEAD = '#include <metal_stdlib>\nusing namespace metal;\n#line 1 "planted.metal"\n'
REFUSED = {
    name: (message, text)
    for name, message, text in re.findall(
        r"^//// (.*?): (.*)\n((?:(?!////).*\n)*)", (PLANTED / "refused.metal").read_text(), re.M
    )
}


def test_all_planted_texts_are_found() -> None:
    assert len(REFUSED) == (PLANTED / "refused.metal").read_text().count("\n////")
    assert all("HERE" in text for _, text in REFUSED.values())


@pytest.mark.parametrize("fault", REFUSED)
def test_refused(fault: str) -> None:
    message, text = REFUSED[fault]
    lines = [i + 1 for i, line in enumerate(text.split("\n")) if "HERE" in line]
    with pytest.raises(MslError) as caught:
        Library(HEAD + text)
    found = str(caught.value).splitlines()
    places = tuple(f"planted.metal:{line}:" for line in lines)
    assert any(one.startswith(places) and message in one for one in found), found


@pytest.mark.parametrize("checked", [False, True], ids=["fast", "checked"])
def test_correct_msl_is_accepted(checked: bool) -> None:
    library = Library((PLANTED / "accepted.metal").read_text(), checked=checked)
    assert list(library.functions) == ["typed_f2", "typed_h4"]
    assert [f.contents.max_threads for f in library.functions.values()] == [64, 64]
    assert library.constants == {"MODE": 0}
