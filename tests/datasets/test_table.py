"""DataFrames become tables, and class indices one-hot columns."""

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_dls as tg
from tinygrad_dls.datasets import from_frame, one_hot

FRAME = pd.DataFrame(
    {"size": [1.5, None, 2.5], "rooms": [1, 2, 3], "city": ["Rome", "Oslo", None], "price": [2.0, 1.0, 4.0]},
    index=["a", "b", "c"],
)


def test_rows_of_a_frame_become_columns():
    table = from_frame(FRAME, target="price", missing={"size": "mean", "city": "drop"}, one_hot=["city"])
    np.testing.assert_array_equal(table.X, [[1.5, 1.5], [1, 2], [0, 1], [1, 0]])
    np.testing.assert_array_equal(table.Y, [[2, 1]])
    assert table.features == ("size", "rooms", "city=Oslo", "city=Rome")
    assert dict(table.missing) == {"size": 1, "city": 1}
    assert FRAME["size"].isna().sum() == 1


@pytest.mark.parametrize(
    ("column", "expected", "classes"),
    [
        ([0, 1, 0], [[0.0, 1.0, 0.0]], ()),
        ([True, False, True], [[1.0, 0.0, 1.0]], ()),
        (["b", "a", " b"], [[1, 0, 1]], ("a", "b")),
        (pd.Categorical(["b", "a", "b"], categories=["b", "a", "c"]), [[1, 0, 1]], ("a", "b")),
        (pd.array([1, 2, 3], dtype="Int64"), [[1.0, 2.0, 3.0]], ()),
        (pd.array(["y", "x", "y"], dtype="string"), [[1, 0, 1]], ("x", "y")),
    ],
)
def test_targets_of_any_kind_of_column(column, expected, classes):
    table = from_frame(pd.DataFrame({"a": [1.0, 2.0, 3.0], "y": column}), target="y")
    np.testing.assert_array_equal(table.Y, expected)
    assert table.Y.dtype == (np.int64 if classes else np.float64)
    assert table.classes == classes


@pytest.mark.parametrize(
    ("frame", "options", "error", "message"),
    [
        (FRAME, {}, ValueError, "row 'b', column 'size': the cell is missing. To leave out its row, write"),
        (FRAME[["city", "price"]], {}, ValueError, "row 'c', column 'city': the cell is missing."),
        (FRAME[["city", "price"]].iloc[:2], {}, ValueError, "column 'city' is of "),
        (FRAME.assign(day=pd.Timestamp("2020-01-01"))[["day", "price"]], {}, ValueError,
         "column 'day' is of datetime64"),
        (FRAME.assign(rooms=np.inf)[["rooms", "price"]], {}, ValueError, "row 'a', column 'rooms': inf is not a f"),
        (FRAME[["rooms", "rooms", "price"]], {}, ValueError, "from_frame: columns named twice: 'rooms'."),
        (FRAME[["price"]], {}, ValueError, "from_frame: no feature is left besides 'price'."),
        (FRAME[["rooms"]], {}, ValueError, "from_frame has no column 'price'; its columns are rooms."),
        (FRAME[["rooms", "price"]].iloc[:0], {}, ValueError, "from_frame: the frame has no rows."),
        (pd.DataFrame({0: [1.0], "price": [1.0]}), {}, ValueError, "the columns need names, got [0, 'price']"),
        (FRAME.assign(city=[1.5, "a", "b"]), {"one_hot": ["city"], "missing": "drop"}, ValueError,
         "row 'a', column 'city': 1.5 is no text. Write frame['city'].astype(str)."),
        ({"a": [1.0]}, {}, TypeError, "from_frame takes a pandas DataFrame, got {'a': [1.0]}"),
        (np.ones((2, 2)), {}, TypeError, "from_frame takes a pandas DataFrame, got array("),
        (FRAME["price"], {}, TypeError, "from_frame takes a pandas DataFrame"),
    ],
)  # fmt: skip
def test_what_is_no_table_is_refused_by_row_and_column(frame, options, error, message):
    with pytest.raises(error, match=re.escape(message)):
        from_frame(frame, **{"target": "price"} | options)


def test_a_file_and_its_frame_give_the_same_table(tmp_path):
    text = "a,city,y\n1.5,Rome,no\n,Oslo,yes\n-3e-5,Rome,no\n"
    (tmp_path / "t.csv").write_text(text)
    options = {"target": "y", "missing": "mean", "one_hot": ["city"]}
    one, other = (
        tg.datasets.read_csv(tmp_path / "t.csv", **options),
        from_frame(pd.read_csv(tmp_path / "t.csv"), **options),
    )
    np.testing.assert_array_equal(one.X, other.X)
    np.testing.assert_array_equal(one.Y, other.Y)
    assert one[2:] == other[2:]


@given(st.lists(st.integers(0, 6), min_size=1))
def test_one_hot_columns_have_one_1_where_the_class_is(classes):
    Y = np.array([classes])
    columns = one_hot(Y, 7)
    assert columns.shape == (7, len(classes))
    assert set(np.unique(columns)) <= {0.0, 1.0}
    np.testing.assert_array_equal(columns.sum(axis=0), 1)
    np.testing.assert_array_equal(columns.argmax(axis=0), classes)
    np.testing.assert_array_equal(one_hot(Y), columns[: max(classes) + 1])
    np.testing.assert_array_equal(one_hot(Y[0], 7), columns)


@pytest.mark.parametrize(
    ("Y", "n", "error", "message"),
    [
        ([[0, 3]], 3, ValueError, "one_hot: Y holds 3; class indices of 3 classes are 0 ... 2."),
        ([[0, -1]], None, ValueError, "one_hot: Y holds -1; class indices of 1 classes are 0 ... 0."),
        ([[0.0, 1.0]], None, TypeError, "one_hot: Y is of float64; class indices are integers. Write Y.astype(int)."),
        (np.eye(2, dtype=int), None, ValueError, "one_hot: Y is (2, 2); expected class indices, (1, m)."),
        (np.zeros((1, 0), int), None, ValueError, "one_hot: Y is (1, 0); expected class indices"),
        ([[0]], 0, ValueError, "one_hot: n_classes"),
    ],
)
def test_what_are_no_class_indices(Y, n, error, message):
    with pytest.raises(error, match=re.escape(message)):
        one_hot(Y, n)
