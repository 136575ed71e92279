"""DataFrames become tables, and class indices one-hot columns."""

import copy
import pickle
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
        (FRAME.assign(**{"Unnamed: 0": 1})[["Unnamed: 0", "rooms", "price"]], {}, ValueError, "from_frame: column "
         "'Unnamed: 0' has no name, and is no feature then. If it is the row numbers, which pandas writes without "
         "index=False, leave it out: ignore=['Unnamed: 0']; or else name it."),
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


# -- like an earlier table --------------------------------------------------------------------------------------------


TRAIN = pd.DataFrame(
    {"id": [7, 8, 9], "size": [1.5, None, 2.5], "rooms": [1, 2, 3], "city": ["Rome", "Oslo", "Rome"],
     "sold": ["no", "yes", "no"]}
)  # fmt: skip
TABLE = from_frame(TRAIN, target="sold", ignore=["id"], missing={"size": "mean"}, one_hot=["city"])
ROW = {"rooms": 5, "city": "Oslo", "size": None}


def test_a_recipe_makes_the_same_features_of_the_same_rows():
    again = from_frame(TRAIN, like=TABLE.recipe)
    np.testing.assert_array_equal(again.X, TABLE.X)
    np.testing.assert_array_equal(again.Y, TABLE.Y)
    assert again.Y.dtype == TABLE.Y.dtype
    assert again[2:5] == TABLE[2:5]
    assert dict(again.missing) == {"size": 1}
    assert again.recipe == TABLE.recipe


def test_a_single_row_becomes_the_features_of_the_table_whatever_it_lacks_of_texts_and_order():
    row = from_frame(pd.DataFrame([ROW]), like=TABLE.recipe)
    np.testing.assert_array_equal(row.X, [[2.0], [5], [1], [0]])
    assert row.features == TABLE.features
    assert row.Y.shape == (0, 1)


def test_a_table_of_a_file_has_a_recipe_too_and_a_recipe_is_saved_with_a_model(tmp_path):
    TRAIN.to_csv(tmp_path / "train.csv", index=False)
    options = {"target": "sold", "ignore": ["id"], "missing": {"size": "mean"}, "one_hot": ["city"]}
    table = tg.datasets.read_csv(tmp_path / "train.csv", **options)
    assert table.recipe == TABLE.recipe
    tg.save(tmp_path / "model.safetensors", tg.nn.LogisticRegression(4), recipe=table.recipe)
    recipe = tg.load(tmp_path / "model.safetensors").extra["recipe"]
    assert recipe == TABLE.recipe
    np.testing.assert_array_equal(from_frame(TRAIN, like=recipe).X, TABLE.X)
    train, test = tg.datasets.train_test_split(table, test=1, rng=0)
    assert train.recipe == test.recipe
    assert train.recipe | {"means": TABLE.recipe["means"]} == TABLE.recipe  # they are of the rows to learn from now


def test_means_are_those_of_the_table_even_where_it_lacked_nothing():
    table = from_frame(TRAIN.fillna(3), target="sold", ignore=["id"], missing="mean", one_hot=["city"])
    row = from_frame(pd.DataFrame([ROW | {"rooms": None}]), like=table.recipe)
    np.testing.assert_allclose(row.X[:2, 0], [7 / 3, 2])


def test_a_table_gives_rows_as_scikit_learn_takes_them():
    X, y = TABLE.rows
    np.testing.assert_array_equal(X, TABLE.X.T)
    np.testing.assert_array_equal(y, [0, 1, 0])
    assert X.flags.c_contiguous


def test_a_table_without_a_target_says_how_to_have_its_rows():
    row = from_frame(pd.DataFrame([ROW]), like=TABLE.recipe)
    with pytest.raises(ValueError, match=re.escape("the table has no column 'sold', and so no Y. Its features as")):
        row.rows  # noqa: B018  # to look at it is to ask for it


@pytest.mark.parametrize("again", [lambda table: pickle.loads(pickle.dumps(table)), copy.deepcopy, copy.copy])
def test_a_table_is_pickled_and_copied_whole(again):
    other = again(TABLE)
    np.testing.assert_array_equal(other.X, TABLE.X)
    np.testing.assert_array_equal(other.Y, TABLE.Y)
    assert other[2:] == TABLE[2:]
    assert type(other.missing) is type(TABLE.missing)


def test_a_table_is_saved_by_its_recipe(tmp_path):
    with pytest.raises(TypeError, match=re.escape("Save how its features were made: table.recipe.")):
        tg.save(tmp_path / "model.safetensors", tg.nn.LogisticRegression(4), table=TABLE)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (ROW | {"city": "Paris"}, "from_frame: row 0, column 'city': 'Paris' is none of the texts that the recipe "
         "knows: Oslo, Rome."),
        (ROW | {"city": None}, "row 0, column 'city': the cell is missing. A text has no mean. Fill it with"),
        (ROW | {"rooms": None}, "row 0, column 'rooms': the cell is missing. The recipe has no mean for it: it was "
         "made without missing={'rooms': 'mean'}."),
        (ROW | {"price": 3}, "from_frame: the features of this recipe are size, rooms, city: 'price' is none of them."),
        ({"size": 1, "city": "Oslo"}, "'rooms' is missing."),
        (ROW | {"rooms": np.inf}, "row 0, column 'rooms': inf is not a finite number."),
        (ROW | {"rooms": "five"}, ", and held numbers in the recipe's table. Make numbers of it: "
         "frame['rooms'] = pd.to_numeric(frame['rooms'])."),
        (ROW | {"sold": "perhaps"}, "column 'sold': 'perhaps' is none of the texts that the recipe knows: no, yes."),
        (ROW | {"sold": None}, "column 'sold': the cell is missing. Leave the column out to predict it, or leave"),
    ],
)  # fmt: skip
def test_rows_that_are_unlike_the_table_are_refused_with_row_and_column(row, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        from_frame(pd.DataFrame([row]), like=TABLE.recipe)


@pytest.mark.parametrize(
    ("frame", "options", "error", "message"),
    [
        (TRAIN, {}, TypeError, "from_frame: target= is missing, the column to predict; or write like=table.recipe."),
        (TRAIN, {"like": TABLE.recipe, "target": "sold"}, TypeError, "like= says what becomes of all columns; leave"),
        (TRAIN, {"like": TABLE.recipe, "missing": "drop"}, TypeError, "like= says what becomes of all columns; leave"),
        (TRAIN, {"like": TABLE}, TypeError, "like= takes the recipe of a table: like=table.recipe."),
        (
            TRAIN,
            {"like": {"columns": ["size"]}},
            TypeError,
            "like= takes the recipe of a table, like=table.recipe; got",
        ),
        (TRAIN, {"like": TABLE.recipe | {"texts": {"city": 5}}}, TypeError, "the texts of 'city' of this one are 5"),
        (
            TRAIN,
            {"like": TABLE.recipe | {"columns": [1]}},
            TypeError,
            "the columns of this one are [1], and no list of",
        ),
        (TRAIN, {"like": TABLE.recipe | {"columns": []}}, ValueError, "the columns of this one are []; it is damaged"),
        (TRAIN, {"like": TABLE.recipe | {"classes": ["no", "no"]}}, ValueError, "the classes of this one are ['no', "),
        (TRAIN, {"like": TABLE.recipe | {"means": {"size": "2"}}}, ValueError, "the mean of 'size' in this one is '2'"),
        (TRAIN, {"like": TABLE.recipe | {"means": {"size": np.nan}}}, ValueError, "the mean of 'size' in this one is"),
        (TRAIN[:0], {"like": TABLE.recipe}, ValueError, "from_frame: the frame has no rows."),
        (TRAIN[["size", "size", "rooms", "city"]], {"like": TABLE.recipe}, ValueError, "'size' is named twice."),
    ],
)
def test_other_recipes_are_refused(frame, options, error, message):
    with pytest.raises(error, match=re.escape(message)):
        from_frame(frame, **options)
