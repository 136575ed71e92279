"""What a training leaves: its history, and the progress that it shows."""

import csv
import re
import sys

import numpy as np
import pytest

from tests.training.fitting import fit, network
from tinygrad_dls.extras import install


def test_history_is_numpy_friendly_and_plots(flower):
    X, Y = flower
    history = fit(network(), X, Y, epochs=6, validation=(X, Y))
    assert len(history) == 6
    np.testing.assert_array_equal(np.asarray(history), history.costs)
    assert np.min(history) == min(history.costs)
    assert re.fullmatch(
        r"History: 6 epochs, cost 0\.\d{6} -> 0\.\d{6}, validation cost 0\.\d{6}, validation accuracy \d+\.\d\d%",
        repr(history),
    )
    from matplotlib.figure import Figure

    ax = history.plot(Figure().subplots())
    assert [line.get_label() for line in ax.lines] == ["training", "validation"]
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), history.costs)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "cost J")


def test_a_plot_without_matplotlib_says_how_to_get_it(flower, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=re.escape(f"plots need matplotlib: {install('plot')}")):
        fit(network(), *flower).plot()


def test_a_history_is_read_by_epoch_and_by_figure(flower):
    history = fit(network(), *flower, epochs=4, validation=flower, metrics={"wrong": lambda p, Y: np.sum(p != Y)})
    names = ["cost", "validation_cost", "validation_accuracy", "wrong"]
    assert list(history.columns) == names
    rows = list(history)
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3]
    assert [row["cost"] for row in rows] == history["cost"] == history.costs
    assert (history[-1], history[1:3]) == (rows[3], rows[1:3])
    assert history["validation_accuracy"] == history.validation_accuracies
    assert history["wrong"] == history.metrics["wrong"] == [round(400 * (1 - x)) for x in history.validation_accuracies]
    history["cost"].append(0)
    assert len(history) == 4
    assert fit(network(), *flower, epochs=1)[0].keys() == {"epoch", "cost"}


def test_what_a_history_does_not_have_is_named(flower):
    history = fit(network(), *flower, epochs=2)
    with pytest.raises(KeyError, match="the history has no validation_cost; it has cost"):
        history["validation_cost"]
    with pytest.raises(IndexError, match="the history has 2 epochs, and none of number 2"):
        history[2]
    with pytest.raises(TypeError, match=r"takes an epoch, a slice, or the name of a figure; got"):
        history[1.5]


def test_a_history_is_written_as_a_table_to_the_last_digit(flower, tmp_path):
    history = fit(network(), *flower, epochs=3, validation=flower)
    history.to_csv(tmp_path / "history.csv")
    head, *rows = csv.reader((tmp_path / "history.csv").read_text().splitlines())
    assert head == ["epoch", "cost", "validation_cost", "validation_accuracy"]
    assert [int(row[0]) for row in rows] == [0, 1, 2]
    assert [float(row[1]) for row in rows] == history.costs
    assert [float(row[3]) for row in rows] == history.validation_accuracies
    with pytest.raises(TypeError, match=r"to_csv takes the path of a file, such as 'history.csv'; got"):
        history.to_csv(3)


def test_a_history_is_a_frame_of_pandas(flower, monkeypatch):
    history = fit(network(), *flower, epochs=3, validation=flower, metrics="f1")
    frame = history.to_frame()
    assert (frame.index.name, list(frame.index)) == ("epoch", [0, 1, 2])
    assert {name: list(frame[name]) for name in frame} == history.columns
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=re.escape(f"to_frame needs pandas: {install('pandas')}")):
        history.to_frame()


def test_an_epoch_that_ctrl_c_has_cut_short_has_nan_in_its_figures(flower):
    def interrupt(predictions, Y):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(1)
        return 1

    done = []
    history = fit(network(), *flower, epochs=9, validation=flower, metrics=interrupt)
    assert history.interrupted
    assert len(history) == 3
    assert history["interrupt"][:2] == [1, 1]
    assert np.isnan(history[-1]["interrupt"])
    assert np.isfinite(history[-1]["validation_cost"])


def test_quiet_when_not_a_terminal(flower, capfd):
    fit(network(), *flower, epochs=50)
    assert capfd.readouterr() == ("", "")


def test_the_progress_bar_shows_the_cost_in_a_terminal(flower, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    import time

    fit(network(), *flower, epochs=12, callbacks=[lambda _: time.sleep(0.15)])
    shown = capsys.readouterr().err
    assert "cost 0." in shown
    assert "/12" in shown
    fit(network(), *flower, epochs=12, progress=False, callbacks=[lambda _: time.sleep(0.15)])
    assert capsys.readouterr().err == ""


def test_the_progress_bar_is_shown_in_a_notebook_too(flower, monkeypatch, capsys):
    import time

    class IPython:
        get_ipython = staticmethod(object)

    monkeypatch.setitem(sys.modules, "ipykernel", object())
    monkeypatch.setitem(sys.modules, "IPython", IPython)
    fit(network(), *flower, epochs=12, callbacks=[lambda _: time.sleep(0.15)])
    assert "/12" in capsys.readouterr().err


def test_a_history_has_figures_by_name_and_rows(flower):
    history = fit(network(), *flower, epochs=2, validation=flower)
    assert "validation_cost" in history
    assert "f1" not in history
    assert history[1] in history
    assert {"epoch": 5} not in history
