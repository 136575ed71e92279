"""The benchmarks compare equal things: the peers that need no extra take the same steps at every measured shape."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import estimators, report
from benchmarks.problems import DTYPES, SHAPES, Problem
from benchmarks.turns import PEERS, REFERENCE, check_equal, first_steps, made

SHRUNK = [Problem(sizes, min(m, 40), dtype) for sizes, m in SHAPES for dtype in DTYPES]
WITHOUT_EXTRA = ["NumPy, planned", "eager", "compiled"]


@pytest.mark.parametrize("problem", SHRUNK, ids=str)
@pytest.mark.parametrize("name", WITHOUT_EXTRA)
def test_peers_take_the_same_steps(name, problem):
    expected = first_steps(made(REFERENCE, problem, {}))
    check_equal(first_steps(made(name, problem, {})), expected, problem)


@pytest.mark.parametrize("name", [REFERENCE, *WITHOUT_EXTRA])
def test_a_restarted_peer_repeats_its_steps(name):
    problem = SHRUNK[0]
    peer = made(name, problem, {})
    costs, parameters = first_steps(peer)
    peer.restart(problem.parameters)
    again, same = first_steps(peer)
    assert again == costs
    for key, value in parameters.items():
        np.testing.assert_array_equal(same[key], value)


def test_a_peer_without_the_update_is_caught():
    problem = SHRUNK[0]
    idle = made(REFERENCE, problem, {})
    expected = first_steps(made(REFERENCE, problem, {}))
    costs, _ = first_steps(replace(idle, parameters=lambda: problem.parameters))
    with pytest.raises(AssertionError, match="W1"):
        check_equal((costs, dict(problem.parameters)), expected, problem)


def test_a_peer_with_another_cost_is_caught():
    problem = SHRUNK[0]
    costs, parameters = first_steps(made(REFERENCE, problem, {}))
    with pytest.raises(AssertionError):
        check_equal(([2 * J for J in costs], parameters), (costs, parameters), problem)


def test_every_peer_has_a_maker():
    modules = {entry.make.split(".")[0] for entry in PEERS.values()}
    assert modules == {"engine", "by_hand", "frameworks"}


def test_the_page_shows_what_was_measured():
    page = report.PAGE.read_text()
    assert report.written(page) == page


def test_the_page_of_the_estimators_shows_what_was_measured():
    page = estimators.PAGE.read_text()
    assert estimators.written(page) == page
    assert len(estimators.load("estimators")["rows"]) == len(estimators.DATA)
