"""The reader points at what is wrong, by line and column."""

import re

import numpy as np
import pytest

import tinygrad_dls as tg
from tinygrad_dls.datasets import at_once
from tinygrad_dls.datasets import reader as csv_reader


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
        ("a,y\n1,yes\n2,no\n3,nan\n", "data.csv, line 4, column 2 ('y'): 'nan' stands for a missing cell."),
        ("a,y\n1,yes\n2,no\n3,7\n", "data.csv, line 4, column 2 ('y'): '7' is a number among the text"),
        ("a,y\n1,0\n2\n", "data.csv, line 3: 1 cells; the header has 2 columns."),
        ("a,y\n1,0\n\n1,0,5\n", "data.csv, line 4: 3 cells; the header has 2 columns."),
        ("a,a,y\n", "data.csv: columns named twice: 'a'."),
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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a;b;y\n1;2;0\n", "data.csv: semicolons seem to be the separators, not commas. Write sep="),
        ('"a, mm";"b";"y"\n1;2;0\n', "data.csv: semicolons seem to be the separators, not commas. Write sep="),
        ('"a"\t"y"\n1\t0\n', "data.csv: tabs seem to be the separators, not commas. Write sep="),
        ('"a" ,"b","y"\n1,2,0\n', "data.csv, line 1: ',' expected after '\"'"),
        ("a;b;y\n1,5;2;0\n", "Write sep=';', and decimal=',' if the numbers have commas."),
        ("a\tb\ty\n1\t2\t0\n", "data.csv: tabs seem to be the separators"),
        ("a|b|y\n1|2|0\n", "data.csv: bars seem to be the separators"),
        ("sep=,\na,y\n1,0\n", "data.csv, line 1 is 'sep=,', Excel's note of the separator; delete it."),
        (
            'a,y\n"1,5",0\n',
            "line 2, column 1 ('a'): '1,5' is not a number. A decimal comma? Write 1.5, or decimal=',' for all.",
        ),
        (",a,y\n0,1,0\n", "line 1: column 1 has no name, and is no feature then."),
        ("Unnamed: 0,a,y\n0,1,0\n", "leave it out: ignore=['Unnamed: 0']; or else name it."),
        ("Unnamed: 0.1,a,y\n0,1,0\n", "leave it out: ignore=['Unnamed: 0.1']"),
        ('"",a,y\n0,1,0\n', "leave it out: ignore=['']"),
        ("a,y,\n1,0,\n", "line 1: column 3 has no name"),
        (
            "a,y\n1,5\0\n",
            "data.csv, line 2, column 2 ('y'): the cell holds a NUL byte. Is the file damaged, or in UTF-16?",
        ),
        ("a,y\n\0001,5\n", "data.csv, line 2, column 1 ('a'): the cell holds a NUL byte."),
        ("a,y\n1,yes\n2,n\0o\n", "data.csv, line 3, column 2 ('y'): the cell holds a NUL byte."),
        ("a\0,y\n1,5\n", "data.csv, line 1 holds a NUL byte."),
    ],
)
def test_what_was_read_for_something_else_is_refused(csv, text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        tg.datasets.read_csv(csv(text), target="y")


def test_a_nameless_column_may_be_left_out(csv):
    table = tg.datasets.read_csv(csv(",a,y\n0,1,0\n1,2,1\n"), target="y", ignore=[""])
    assert table.features == ("a",)
    np.testing.assert_array_equal(table.X, [[1, 2]])


# -- large files ------------------------------------------------------------------------------------------------------


ROWS = 40  # few, for a file that is called large


def large(target, rows=ROWS):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(rows, 2)) * 10.0 ** rng.integers(-300, 300, (rows, 2))
    labels = {
        "number": rng.normal(size=rows).astype(str),
        "text": np.array(["no", " maybe ", "yes"])[np.arange(rows) % 3],
    }
    return [f"{i},{float(a)!r},{float(b)!r},{y}" for i, ((a, b), y) in enumerate(zip(X, labels[target], strict=True))]


@pytest.fixture(params=["pandas", "numpy"])
def reader(request, monkeypatch):
    """Large files are read by pandas, or without it; here, all files are large."""
    used = []
    monkeypatch.setattr(csv_reader, "_LARGE", 0)
    monkeypatch.setattr(at_once, "_ROWS", 7)
    for name in ("_by_pandas", "_by_numpy"):
        read = getattr(at_once, name)
        monkeypatch.setattr(at_once, name, lambda *args, read=read, name=name: (used.append(name), read(*args))[1])
    if request.param == "numpy":
        monkeypatch.setattr(at_once, "find_spec", lambda _: None)
    return lambda: used == [f"_by_{request.param}"]


def same(one, other):
    assert one[2:] == other[2:]
    for a, b in zip(one[:2], other[:2], strict=True):
        assert a.dtype == b.dtype
        assert a.flags.c_contiguous
        assert a.flags.writeable
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("target", ["number", "text"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_large_file_is_read_at_once_with_the_same_result_to_the_last_bit(csv, reader, monkeypatch, target, end):
    path = csv(end.join(["id,a,b,y", *large(target), ""]))
    table = tg.datasets.read_csv(path, target="y", ignore=["id"])
    assert reader()
    monkeypatch.setattr(csv_reader, "_LARGE", np.inf)
    same(table, tg.datasets.read_csv(path, target="y", ignore=["id"]))


def test_a_large_file_may_have_blank_lines_quotes_a_mark_and_no_last_line_end(csv, reader, monkeypatch):
    rows = large("text")
    rows[7:7] = ["", '7,"1.5",-2,"maybe"']
    path = csv("\n".join(['id,"a, in\nmm",b,y', *rows]), encoding="utf-8-sig")
    table = tg.datasets.read_csv(path, target="y", ignore=["id"])
    assert reader()
    assert table.features == ("a, in\nmm", "b")
    assert table.X.shape == (2, ROWS + 1)
    monkeypatch.setattr(csv_reader, "_LARGE", np.inf)
    same(table, tg.datasets.read_csv(path, target="y", ignore=["id"]))


ODD = [
    "", " ", "x", "nan", "NaN", "NA", "inf", "-Infinity", "1_000", "1e400", "True", "0x10", "1d5", "1,5", '"1"2', "1 2",
    "5\0",
    "1.", ".5", "+1", "1E5", " 7", "7 ", '"7"', "-0", "1e-320", "123456789012345678901", "\u0661",
]  # fmt: skip


@pytest.mark.parametrize("where", ["first", "later"])
@pytest.mark.parametrize("column", [1, 2, 3])
def test_odd_cells_of_large_files_are_what_they_are_in_small_ones(csv, reader, monkeypatch, column, where):
    def outcome(path):
        try:
            return tg.datasets.read_csv(path, target="y", ignore=["id"])
        except ValueError as error:
            return str(error)

    for target in ("number", "text"):
        rows = large(target)
        for odd in ODD:
            cells = rows[0].split(",")
            cells[column] = odd
            changed = [",".join(cells), *rows[1:]] if where == "first" else [*rows, ",".join(cells)]
            path = csv("\n".join(["id,a,b,y", *changed]))
            monkeypatch.setattr(csv_reader, "_LARGE", 0)
            got = outcome(path)
            monkeypatch.setattr(csv_reader, "_LARGE", np.inf)
            expected = outcome(path)
            if isinstance(expected, str):
                assert got == expected, (odd, target)
            else:
                same(got, expected)


@pytest.mark.parametrize("row", ["1,2,3", "1,2,3,4,5", "1,2,3,4,", "1"])
def test_a_line_of_another_length_is_found_in_a_large_file(csv, reader, row):
    for ignore in ([], ["id"]):
        for at in (0, 1, ROWS):
            rows = large("number")
            rows.insert(at, row)
            with pytest.raises(ValueError, match=rf"line {at + 2}: \d cells; the header has 4 columns"):
                tg.datasets.read_csv(csv("\n".join(["id,a,b,y", *rows])), target="b", ignore=ignore)


# -- separators, decimal commas, missing cells, categories ------------------------------------------------------------


def test_semicolons_and_decimal_commas(csv):
    table = tg.datasets.read_csv(csv("a;b;y\n1,5;-2e3;0,25\n3;4,0;1\n"), target="y", sep=";", decimal=",")
    np.testing.assert_array_equal(table.X, [[1.5, 3], [-2000, 4]])
    np.testing.assert_array_equal(table.Y, [[0.25, 1]])
    table = tg.datasets.read_csv(csv("a\tkind\n1.5\tno\n2\tyes\n"), target="kind", sep="\t")
    assert (table.X.tolist(), table.classes) == ([[1.5, 2.0]], ("no", "yes"))


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a;y\n1.234;0\n", {"sep": ";", "decimal": ","}, "'1.234' is not a number. Points are for thousands there"),
        ("a;y\n1;0\n", {"sep": "\t"}, "semicolons seem to be the separators, not tabs. Write sep=';', and decimal="),
        ("a,y\n1,0\n", {"sep": ";"}, "data.csv: commas seem to be the separators, not semicolons. Write sep=','."),
        ("a,city,y\n1,Rome,0\n", {}, "'Rome' is not a number. If 'city' holds categories, write one_hot=['city']."),
        ("a,y\n,0\n", {}, "the cell is empty. To leave out its row, write missing={'a': 'drop'}, or {'a': 'mean'} for"),
        ("a,y\nn/a,0\n", {}, "'n/a' is not a number. To leave out its row, write missing={'a': 'drop'}, or"),
        ("a,y\n1,\n", {"missing": "mean"}, "the cell is empty. To leave out its row, write missing={'y': 'drop'}."),
        ("a,y\n,0\n1,\n", {"missing": "drop"}, "no row is left; a cell is missing in each ('a': 1, 'y': 1)"),
        ("a,b,y\n,1,0\n,2,1\n", {"missing": "mean"}, "column 'a' has no number to take the mean of; ignore=['a']."),
        ("a,c,y\n1,,0\n", {"missing": "mean", "one_hot": ["c"]}, "('c'): the cell is empty. To leave out its row, w"),
        ("a,y\n1,0\n", {"missing": {"b": "drop"}}, "missing has 'b', which is no feature, nor the target."),
        ("a,y\n1,0\n", {"missing": {"y": "mean"}}, "a mean for 'y', which is what is to be learned. Write 'drop'."),
        ("a,y\n1,0\n", {"missing": "median"}, "missing is one of ('error', 'drop', 'mean'), or a dict of these by"),
        ("a,y\n1,0\n", {"one_hot": ["y"]}, "one_hot has 'y', which is the target; its texts become class indices"),
        ("a,y\n1,0\n", {"one_hot": ["z"]}, "has no column 'z'; its columns are a, y."),
        ("a,b,y\n1,2,0\n", {"one_hot": ["a"], "ignore": ["a"]}, "one_hot has 'a', which is left out by ignore="),
        ("a,y\n1,0\n", {"sep": ""}, "sep is one character that stands between cells, such as ';', got ''."),
        ("a,y\n1,0\n", {"sep": ";;"}, "sep is one character"),
        ("a,y\n1,0\n", {"decimal": ";"}, "decimal is '.' or ','"),
        ("a,y\n1,0\n", {"decimal": ","}, "decimal is '.' or ',', and another one than sep=','"),
        ("a,y\n" + "".join(f"t{i},0\n" for i in range(1001)), {"one_hot": ["a"]}, "1001 texts, which would be as many"),
    ],
)  # fmt: skip
def test_options_are_checked_and_errors_say_what_to_write(csv, text, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        tg.datasets.read_csv(csv(text), **{"target": "y"} | options)


@pytest.mark.parametrize("options", [{"one_hot": "a"}, {"one_hot": [1]}, {"missing": 3}, {"missing": None}])
def test_options_of_other_kinds_are_refused(csv, options):
    with pytest.raises(TypeError, match=r"one_hot takes a list of columns|missing is one of"):
        tg.datasets.read_csv(csv("a,y\n1,0\n"), target="y", **options)


WITH_GAPS = "size,city,price\n1.5,Rome,2\n,Oslo,1\n2.5, Rome ,NA\nnan,,3\n3.5,Oslo,4\n"


def test_rows_with_missing_cells_are_dropped_and_counted(csv):
    table = tg.datasets.read_csv(csv(WITH_GAPS), target="price", missing="drop", one_hot=["city"])
    np.testing.assert_array_equal(table.X, [[1.5, 3.5], [0, 1], [1, 0]])
    np.testing.assert_array_equal(table.Y, [[2, 4]])
    assert table.features == ("size", "city=Oslo", "city=Rome")
    assert dict(table.missing) == {"size": 2, "city": 1, "price": 1}


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("missing", ["error", "mean"])  # of texts, there is no mean
@pytest.mark.parametrize("said", ["NA", "n/a", "NaN", "null", "nOnE", " ? "])
@pytest.mark.parametrize("column", ["city", "kind"])
def test_a_missing_cell_is_no_category_and_no_class(csv, monkeypatch, large, missing, said, column):
    if large:
        monkeypatch.setattr(csv_reader, "_LARGE", 0)
    rows = [f"1,{cell},old" if column == "city" else f"1,Rome,{cell}" for cell in ("Oslo", said, "Bonn")]
    path = csv("\n".join(["size,city,kind", *rows]))
    options = {"target": "kind", "one_hot": ["city"]}
    with pytest.raises(ValueError, match="line 3") as error:
        tg.datasets.read_csv(path, missing=missing, **options)
    assert str(error.value).endswith(
        f"({column!r}): {said.strip()!r} stands for a missing cell. To leave out its row, write missing={{{column!r}: "
        "'drop'}. If it is a text like the others, write from_frame(pd.read_csv(path, keep_default_na=False), ...)."
    )
    table = tg.datasets.read_csv(path, missing={column: "drop"}, **options)
    assert (table.X.shape[1], table.missing) == (2, {column: 1})


def test_means_are_of_the_rows_that_are_left(csv):
    missing = {"size": "mean", "city": "drop", "price": "drop"}
    table = tg.datasets.read_csv(csv(WITH_GAPS), target="price", missing=missing, one_hot=["city"])
    np.testing.assert_array_equal(table.X, [[1.5, (1.5 + 3.5) / 2, 3.5], [0, 1, 1], [1, 0, 0]])
    assert table.missing["size"] == 2
    assert tg.datasets.read_csv(csv("a,y\n1,0\n"), target="y").missing == {}


@pytest.mark.parametrize("policy", ["drop", "mean"])
@pytest.mark.parametrize("target", ["number", "text"])
@pytest.mark.parametrize(("sep", "decimal"), [(",", "."), (";", ","), ("\t", ".")])
def test_large_files_with_gaps_are_what_they_are_in_small_ones(csv, reader, monkeypatch, policy, target, sep, decimal):
    rows = [row.split(",") for row in large(target)]
    for i, gap in enumerate(["", "NA", "nan", "?", "Null", "nAn"]):
        rows[3 * i][1] = gap
        rows[3 * i + 1].insert(3, " x ")
    for row in rows:
        if len(row) < 5:
            row.insert(3, "é" if row[0] in "2468" else "x")
        row[1:3] = [cell.replace(".", decimal) for cell in row[1:3]]
        row[4] = row[4].replace(".", decimal)
    path = csv("\n".join(sep.join(row) for row in [["id", "a", "b", "c", "y"], *rows]))
    options = {
        "target": "y",
        "ignore": ["id"],
        "missing": {"a": policy},
        "one_hot": ["c"],
        "sep": sep,
        "decimal": decimal,
    }
    table = tg.datasets.read_csv(path, **options)
    assert table.features == ("a", "b", "c=x", "c=é")
    assert table.missing["a"] == 6
    monkeypatch.setattr(csv_reader, "_LARGE", np.inf)
    same(table, tg.datasets.read_csv(path, **options))


def test_a_large_file_with_gaps_is_read_at_once(csv, reader, monkeypatch):
    rows = [f"{i},{'' if i % 5 == 0 else i / 7},{'ab'[i % 2]},{i % 3}" for i in range(60)]
    path = csv("\n".join(["id,a,c,y", *rows]))
    options = {"target": "y", "missing": "mean", "one_hot": ["c"]}
    table = tg.datasets.read_csv(path, **options)
    by_pandas = at_once.find_spec("pandas") is not None
    assert reader() == by_pandas  # NumPy's knows no gaps: cell by cell
    monkeypatch.setattr(csv_reader, "_LARGE", np.inf)
    same(table, tg.datasets.read_csv(path, **options))
