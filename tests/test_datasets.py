"""The reader points at what is wrong, by line and column."""

import re

import numpy as np
import pytest

import tinygrad_dls as tg


@pytest.fixture
def csv(tmp_path):
    def write(text, encoding="utf-8"):
        path = tmp_path / "data.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


def test_columns_become_rows_and_examples_columns(csv):
    table = tg.datasets.read_csv(csv("id,a,y,b\n1,0.5,1,2\n2,-1e3,0,4\n\n3,7,1,6\n"), target="y", ignore=["id"])
    np.testing.assert_array_equal(table.X, [[0.5, -1000, 7], [2, 4, 6]])
    np.testing.assert_array_equal(table.Y, [[1, 0, 1]])
    assert (table.features, table.target, table.classes) == (("a", "b"), "y", ())
    assert table.X.flags.c_contiguous


def test_text_targets_become_classes_in_alphabetical_order(csv):
    table = tg.datasets.read_csv(csv("a,kind\n1,malignant\n2,benign\n3, malignant \n"), target="kind")
    np.testing.assert_array_equal(table.Y, [[1, 0, 1]])
    assert table.Y.dtype == np.int64
    assert table.classes == ("benign", "malignant")


def test_files_as_spreadsheets_write_them(csv):
    table = tg.datasets.read_csv(csv('"a, in mm",y\r\n"1.5",0\r\n', encoding="utf-8-sig"), target="y")
    assert table.features == ("a, in mm",)
    np.testing.assert_array_equal(table.X, [[1.5]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,y\n1,0\nx,1\n", "data.csv, line 3, column 1 ('a'): 'x' is not a number."),
        ("a,y\n1,0\n,1\n", "data.csv, line 3, column 1 ('a'): the cell is empty."),
        ("a,y\n1,0\n2,\n", "data.csv, line 3, column 2 ('y'): the cell is empty."),
        ("a,y\n1,0\n2,one\n", "data.csv, line 3, column 2 ('y'): 'one' is not a number."),
        ("a,y\n1,0\nnan,1\n", "data.csv, line 3, column 1 ('a'): 'nan' is not a finite number."),
        ("a,y\n1,0\n2,inf\n", "data.csv, line 3, column 2 ('y'): 'inf' is not a finite number."),
        ("a,y\n1,yes\n2,no\n3,nan\n", "data.csv, line 4, column 2 ('y'): 'nan' is a number among the text"),
        ("a,y\n1,0\n2\n", "data.csv, line 3: 1 cells; the header has 2 columns."),
        ("a,y\n1,0\n\n1,0,5\n", "data.csv, line 4: 3 cells; the header has 2 columns."),
        ("a,a,y\n", "data.csv, line 1: columns named twice: 'a'."),
        ("a,b\n", "data.csv has no column 'y'; its columns are a, b."),
        ("a,y\n", "data.csv has a header but no rows."),
        ("y\n1\n", "data.csv: no feature is left besides 'y'."),
        ('a,y\n1,0\n"1"2,0\n', "data.csv, line 3: ',' expected after '\"'"),
        ("a,y\n1_000,0\n", "data.csv, line 2, column 1 ('a'): '1_000' is not a number."),
        ("", "data.csv: the first line is empty; it must name the columns."),
    ],
)
def test_a_bad_file_is_an_error_with_its_line_and_column(csv, text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        tg.datasets.read_csv(csv(text), target="y")


def test_a_file_in_another_encoding_is_an_error_with_its_line(csv):
    text = "a,y\n" + 5_000 * "1,0\n" + "1,größe\n"
    with pytest.raises(ValueError, match=r"data\.csv, line 5002: not UTF-8: invalid"):
        tg.datasets.read_csv(csv(text, encoding="latin-1"), target="y")


def test_spaces_around_names_are_no_part_of_them(csv):
    assert tg.datasets.read_csv(csv("a , y\n1,0\n"), target="y").features == ("a",)


def test_ignore_takes_a_list(csv):
    with pytest.raises(TypeError, match=re.escape("ignore=['id']")):
        tg.datasets.read_csv(csv("id,a,y\n1,2,3\n"), target="y", ignore="id")
    with pytest.raises(ValueError, match="has no column 'ID'"):
        tg.datasets.read_csv(csv("id,a,y\n1,2,3\n"), target="y", ignore=["ID"])


def test_the_flower_is_balanced_and_repeatable():
    X, Y = tg.datasets.planar_flower()
    assert (X.shape, Y.shape, Y.sum()) == ((2, 400), (1, 400), 200)
    np.testing.assert_array_equal(X, tg.datasets.planar_flower()[0])
    assert tg.datasets.planar_flower(10, rng=5)[0].shape == (2, 10)
    with pytest.raises(ValueError, match="m must be even and at least 2, got 3"):
        tg.datasets.planar_flower(3)
