"""What a training leaves: its history, and the progress that it shows."""

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
