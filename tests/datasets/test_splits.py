"""Splits lose no example, and keep each with its label."""

import copy
import pickle
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_dls as tg
from tinygrad_dls.datasets import from_frame, train_test_split

SIZES = st.integers(2, 60)


@given(SIZES, st.data())
def test_every_example_is_in_one_part_and_keeps_its_label(m, data):
    count, seed = data.draw(st.integers(1, m - 1)), data.draw(st.integers(0, 99))
    X = np.arange(3.0 * m).reshape(3, m)
    Y = X[:1] * 2
    X_train, X_test, Y_train, Y_test = train_test_split(X, Y, test=count, rng=seed)
    assert (X_train.shape, X_test.shape) == ((3, m - count), (3, count))
    together = np.concatenate([X_train, X_test], axis=1)
    np.testing.assert_array_equal(together[:, np.argsort(together[0])], X)
    np.testing.assert_array_equal(Y_train, X_train[:1] * 2)
    np.testing.assert_array_equal(Y_test, X_test[:1] * 2)
    assert not np.shares_memory(X_train, X)
    for one, other in zip(
        train_test_split(X, Y, test=count, rng=seed), (X_train, X_test, Y_train, Y_test), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@given(st.lists(st.integers(4, 40), min_size=2, max_size=4), st.sampled_from([0.25, 0.5, 1 / 3]), st.integers(0, 99))
def test_a_stratified_split_has_each_class_in_its_proportion(sizes, test, seed):
    Y = np.repeat(np.arange(len(sizes)), sizes)[None, :]
    X = np.arange(float(Y.size))[None, :]
    _, X_test, Y_train, Y_test = train_test_split(X, Y, test=test, rng=seed, stratify=True)
    assert X_test.shape[1] == round(test * Y.size)
    for k, size in enumerate(sizes):
        assert abs((Y_test == k).sum() - test * size) < 1.5  # the whole test set is rounded, and each class
        assert (Y_train == k).sum() + (Y_test == k).sum() == size


def test_one_hot_labels_are_classes_and_the_flower_is_halved():
    X, Y = tg.datasets.planar_flower()
    one_hot = tg.datasets.one_hot(Y)
    *_, Y_test = train_test_split(X, one_hot, test=0.1, rng=1, stratify=True)
    assert Y_test.sum(axis=1).tolist() == [20, 20]


def test_a_table_splits_into_tables():
    frame = pd.DataFrame({"a": np.arange(8.0), "y": list("abababab")})
    train, test = train_test_split(from_frame(frame, target="y"), test=2, rng=0, stratify=True)
    assert (train.X.shape, test.X.shape, sorted(test.Y[0])) == ((1, 6), (1, 2), [0, 1])
    assert (train.features, test.classes) == (("a",), ("a", "b"))


WITH_HOLES = pd.DataFrame(
    {"a": [1.0, np.nan, 3, 4, 100, 6, np.nan, 8], "city": list("uvuvuvuv"), "b": [np.nan, *range(2, 9)],
     "full": np.arange(8.0), "y": [0, 1] * 4}
)  # fmt: skip


@pytest.mark.parametrize("seed", range(8))
def test_means_for_missing_cells_are_those_of_the_rows_to_learn_from(seed):
    """As if the frame had been split before: nothing of the rows to test with shows in the others."""
    table = from_frame(WITH_HOLES, target="y", missing="mean", one_hot=["city"])
    before = table.X.copy()
    train, test = train_test_split(table, test=3, rng=seed)
    rows = [np.flatnonzero([x in part.X[-1] for x in WITH_HOLES["full"]]) for part in (train, test)]
    right = from_frame(WITH_HOLES.iloc[rows[0]], target="y", missing="mean", one_hot=["city"])
    np.testing.assert_allclose(train.X, right.X, rtol=1e-15)
    np.testing.assert_allclose(test.X, from_frame(WITH_HOLES.iloc[rows[1]], like=right.recipe).X, rtol=1e-15)
    assert train.recipe == test.recipe == right.recipe
    again, held = train_test_split(train, test=1, rng=seed)
    row = WITH_HOLES["full"].isin(again.X[-1])
    np.testing.assert_allclose(again.recipe["means"]["a"], WITH_HOLES["a"][row].mean(), rtol=1e-15)
    assert held.recipe == again.recipe
    np.testing.assert_array_equal(table.X, before)


def test_a_table_with_the_means_of_another_keeps_them_and_files_and_copies_know_the_cells(tmp_path):
    recipe = from_frame(WITH_HOLES, target="y", missing="mean", one_hot=["city"]).recipe
    for part in train_test_split(from_frame(WITH_HOLES, like=recipe), test=3, rng=0):
        assert part.recipe == recipe
    (tmp_path / "t.csv").write_text("a,y\n1,0\n,1\n3,0\n5,1\n")
    table = tg.datasets.read_csv(tmp_path / "t.csv", target="y", missing="mean")
    for one in (table, copy.deepcopy(table), pickle.loads(pickle.dumps(table))):
        train, _ = train_test_split(one, test=1, rng=1)
        assert train.recipe["means"]["a"] != table.recipe["means"]["a"]


def test_a_column_without_a_number_among_the_rows_to_learn_from_is_named():
    table = from_frame(pd.DataFrame({"a": [1.0, *[np.nan] * 3], "y": [0, 1, 0, 1]}), target="y", missing="mean")
    with pytest.raises(ValueError, match="among the rows to learn from: column 'a' has no number to take the mean of"):
        train_test_split(table, test=1, rng=1)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"test": 0}, ValueError, "test is a part between 0 and 1, or a number of examples, got 0"),
        ({"test": 1.0}, ValueError, "test is a part between 0 and 1, or a number of examples, got 1.0"),
        ({"test": 10}, ValueError, "test=10 of 10 examples leaves one part empty"),
        ({"test": 0.01}, ValueError, "test=0.01 of 10 examples leaves one part empty"),
        ({"test": "half"}, TypeError, "train_test_split: test must be a number, got 'half'"),
        ({"rng": None}, TypeError, "rng"),
        ({"Y": np.zeros((1, 9))}, ValueError, "X is (2, 10), Y is (1, 9); expected (n_x, m) and (n_y, m). Ex"),
        ({"Y": np.zeros(10)}, ValueError, "Y is (10,); expected"),
        ({"Y": None}, TypeError, "Y is missing. Write train_test_split(X, Y, rng=0)."),
        ({"Y": np.arange(10)[None] == 0, "stratify": True}, ValueError, "a class of 1 examples would be missing f"),
        ({"stratify": "yes"}, TypeError, "stratify"),
    ],
)  # fmt: skip
def test_what_cannot_be_split(options, error, message):
    arguments = {"X": np.zeros((2, 10)), "Y": np.zeros((1, 10)), "rng": 0} | options
    with pytest.raises(error, match=re.escape(message)):
        train_test_split(arguments.pop("X"), arguments.pop("Y"), **arguments)


def test_a_table_holds_its_labels():
    table = from_frame(pd.DataFrame({"a": [1.0, 2.0], "y": [0, 1]}), target="y")
    with pytest.raises(TypeError, match="a Table holds X and Y; pass it alone"):
        train_test_split(table, table.Y, rng=0)
