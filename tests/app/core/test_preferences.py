"""The Prefer header, as RFC 7240 has it."""

import pytest

from app.core.preferences import LONGEST_WAIT, Preferences, asks_async, preferences


@pytest.mark.parametrize(
    ("values", "wish"),
    [
        ([], Preferences()),
        (["respond-async"], Preferences(True)),
        (["respond-async, wait=5"], Preferences(True, 5)),
        (["respond-async", "wait=5"], Preferences(True, 5)),
        (["wait=5;x=y , Respond-Async ; a"], Preferences(True, 5)),
        (['WAIT = "10",RESPOND-ASYNC=""'], Preferences(True, 10)),
        (["wait=5, wait=10", "wait=20"], Preferences(False, 5)),
        (["wait=no, wait=5"], Preferences(False, None)),
        (["wait=-1"], Preferences()),
        (["wait=1.5"], Preferences()),
        (["wait=٣"], Preferences()),
        (["wait"], Preferences()),
        (["wait=0"], Preferences(False, 0)),
        (["wait=007"], Preferences(False, 7)),
        (["wait=" + "9" * 5000], Preferences(False, LONGEST_WAIT)),
        (["respond-async=yes"], Preferences()),
        (['lang="respond-async, wait=5"'], Preferences()),
        (['lang="a \\" , respond-async", wait=3'], Preferences(False, 3)),
        (['lang="never ends, respond-async'], Preferences()),
        (['lang="never ends', "respond-async"], Preferences(True)),
        ([",, ,respond-async,"], Preferences(True)),
        (["respond-async wait=5"], Preferences()),
        (["respond-async; wait=5"], Preferences(True, None)),
        (["handling=lenient, return=minimal, respond-async"], Preferences(True)),
        (["\x00\xff, respond-async"], Preferences(True)),
    ],
)
def test_what_is_preferred_is_read_as_the_rfc_has_it(values: list[str], wish: Preferences) -> None:
    assert preferences(values) == wish


@pytest.mark.parametrize("value", ['"' * 20_000, "a=" * 20_000, ",;" * 20_000, '\\"' * 20_000, " \t" * 20_000])
def test_a_hostile_header_is_read_in_no_time(value: str) -> None:
    assert preferences([value]) == Preferences()


def test_the_headers_of_a_request_tell_whether_it_wants_its_answer_later() -> None:
    assert asks_async([(b"host", b"x"), (b"prefer", b"wait=3"), (b"prefer", b"respond-async")])
    assert not asks_async([(b"host", b"x"), (b"prefer", b"wait=3")])
    assert not asks_async([(b"host", b"respond-async")])
