"""What is known of objects by who they are, and forgotten when they are gone."""

from tinygrad_dls.engine.identity import ById


class Thing:
    """An object without a hash."""

    __hash__ = None


class Watched(dict):
    """A dict that counts how often somebody goes through it."""

    walks = 0

    def items(self):
        self.walks += 1
        return super().items()


def watched_table():
    table = ById()
    table._entries = Watched()
    return table


def test_an_object_is_known_and_no_other_that_looks_alike():
    table, thing = ById(), Thing()
    table.set(thing, "known")
    assert (table.get(thing), table.get(Thing())) == ("known", None)
    assert table.setdefault(thing, "other") == "known"
    assert table.setdefault(other := Thing(), "new") == "new"
    assert table.get(other) == "new"


def test_tables_by_identity_do_not_grow_with_what_is_gone():
    table, kept = ById(), [Thing() for _ in range(10)]
    others = [Thing() for _ in range(10_000)]  # all there at first, or they would follow each other in one place
    for i in range(10_000):
        table.set(kept[i % 10], i)
        table.set(others.pop(), i)
    assert len(table._entries) < 200
    assert [table.get(x) for x in kept] == list(range(9_990, 10_000))


def test_what_is_gone_is_dropped_and_what_is_there_stays_known():
    table = ById()
    kept, gone = [Thing() for _ in range(100)], [Thing() for _ in range(100)]
    for x, y in zip(kept, gone, strict=True):
        table.set(x, "kept")
        table.set(y, "gone")
    del gone[:], y
    more = [Thing() for _ in range(400)]
    for x in more:
        table.set(x, "more")
    assert [table.get(x) for x in kept] == ["kept"] * 100
    assert [table.get(x) for x in more] == ["more"] * 400
    assert "gone" not in {value for _, value in table._entries.values()}


def test_a_table_of_many_is_gone_through_a_few_times_only():
    table, kept = watched_table(), [Thing() for _ in range(2000)]
    for x in kept:
        table.set(x, 1)
    assert 1 <= table._entries.walks <= 6  # each time twice as many: 65, 194, 452, 968


def test_a_table_of_a_few_is_gone_through_once_in_a_while():
    table, kept, others = watched_table(), [Thing() for _ in range(40)], [Thing() for _ in range(1000)]
    for i in range(1000):
        table.set(kept[i % 40], i)
        table.set(others.pop(), i)
    assert 1 <= table._entries.walks <= 1000 // 64 + 1
