"""The allocator: every name becomes an identifier of its own."""

import sys
import unicodedata
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tests.support.any_names import TEXTS
from tinygrad_dls.graph.names import KIN, RESERVED, Names, identifier, shortened


@given(st.lists(st.text() | TEXTS, max_size=30))
def test_names_are_identifiers_of_their_own_with_all_that_is_derived_from_them(wanted):
    names = Names({"m"}, kin=KIN)
    found = [names.free(name) for name in wanted]
    family = [kin.format(name) for name in found for kin in KIN]
    assert len({unicodedata.normalize("NFKC", name) for name in family}) == len(family)
    for name in family:
        assert unicodedata.normalize("NFKC", name) == name
        assert name.isidentifier()
        assert name not in {"m", *RESERVED}
        assert len(name) < 80
        exec(f"{name} = 1", {})  # which __debug__ does not allow, say


def test_every_character_becomes_part_of_an_identifier():
    for c in map(chr, range(sys.maxunicode + 1)):
        for text in (c, f"a{c}", f"a{c}b"):
            name = identifier(text)
            assert name.isidentifier(), repr(c)
            assert unicodedata.normalize("NFKC", name) == name, repr(c)


def test_a_name_that_may_stay_stays():
    names = Names(kin=KIN)
    for name in ("W1", "b1", "Z1", "A1", "J", "λ", "日本", "enc_W"):
        assert names.free(name) == name


def test_a_name_that_is_taken_gets_the_next_number():
    names = Names()
    assert [names.free("W") for _ in range(3)] == ["W", "W_2", "W_3"]
    assert [names.numbered("t") for _ in range(3)] == ["t1", "t2", "t3"]
    assert names.free("t2") == "t2_2"


def test_many_names_take_no_longer_each_than_few():
    """The number that was given last is remembered, and not counted up to again."""
    asked = Counter()

    class Counting(Names):
        def is_free(self, name):
            asked[self] += 1
            return super().is_free(name)

    names = Counting()
    for _ in range(2000):
        names.free("W")
        names.numbered("t")
    assert asked[names] < 3 * 4000


def test_a_long_name_keeps_its_beginning_and_its_end_where_it_is_shown():
    assert shortened("a" * 60) == "a" * 60
    assert shortened("a" * 20_000 + "the end of it") == "a" * 49 + "…" + "end of it"[-10:].rjust(10, " ")
