"""The benchmarks compare equal things: the peers that need no extra take the same steps at every measured shape."""

import re
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import dask_scaling, engine, estimators, gpu, native, report
from benchmarks.problems import DTYPES, SHAPES, Problem
from benchmarks.turns import PEERS, REFERENCE, check_equal, first_steps, made

SHRUNK = [Problem(sizes, min(m, 40), dtype) for sizes, m in SHAPES for dtype in DTYPES]
WITHOUT_EXTRA = ["NumPy, planned", "eager", "compiled"]


@pytest.mark.parametrize("problem", SHRUNK, ids=str)
@pytest.mark.parametrize("name", WITHOUT_EXTRA)
def test_peers_take_the_same_steps(name, problem):
    expected = first_steps(made(REFERENCE, problem, {}))
    check_equal(first_steps(made(name, problem, {})), expected, problem)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("sizes", "m"), [*native.COURSE, ((32, 64, 1), 300)])
def test_c_by_hand_takes_the_same_steps_as_what_is_compiled(sizes, m, dtype):
    problem = Problem(sizes, m, dtype)
    peers = {name: native.compiled(problem, name.lower()) for name in ("native", "NumPy")}
    by_hand = native.by_hand(problem)
    assert by_hand is not None
    native.check(problem, {**peers, "C by hand": by_hand})


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


@pytest.mark.parametrize("problem", [Problem((2, 4, 1), 40, "float64"), Problem((5, 4, 3), 20, "float32")], ids=str)
def test_the_engine_takes_the_same_steps_on_a_device(problem):
    expected = first_steps(made(REFERENCE, problem, {}))
    check_equal(first_steps(engine.eager(problem, library="tests.support.device_array")), expected, problem)


def test_what_a_gpu_is_compared_with_is_made_of_the_same_peers(monkeypatch):
    monkeypatch.setattr(gpu, "SECONDS", 0.02)
    problem = Problem((2, 4, 1), 40, "float64")
    for name in (gpu.REFERENCE, "tinygrad_dls on NumPy"):
        took, steps = gpu.measured(name, problem)
        assert took > 0
        check_equal(steps, first_steps(made(REFERENCE, problem, {})), problem)


def test_a_peer_that_has_no_gpu_says_why():
    assert gpu.measured("JAX jit", Problem((2, 4, 1), 40, "float64")).startswith("not run: ")


def test_the_table_of_a_gpu_compares_what_takes_the_same_steps(monkeypatch, capsys):
    monkeypatch.setattr(gpu, "SECONDS", 0.1)
    monkeypatch.setattr(gpu, "PROBLEMS", [Problem((2, 4, 1), 40, "float64")])
    monkeypatch.setattr(gpu, "in_a_process", gpu.measured)
    there = {"library": "tests.support.device_array"}
    peers = {
        gpu.REFERENCE: ("by_hand.plain", {}),
        "there": ("engine.eager", there),
        "nowhere": ("engine.eager", {"of": 1}),
    }
    monkeypatch.setattr(gpu, "PEERS", peers)
    gpu.table("this card")
    title, problem, reference, same, other = filter(None, capsys.readouterr().out.splitlines())
    assert title.endswith("on this card")
    assert problem == "2-4-1, m = 40, float64"
    assert all(float(line.split()[-1]) > 0 for line in (reference, same))
    assert "not run: eager() got an unexpected keyword argument 'of'" in other


def test_the_table_of_a_gpu_says_whose_numbers_are_others(monkeypatch, capsys):
    problem, first = Problem((2, 4, 1), 40, "float64"), first_steps(made(REFERENCE, SHRUNK[0], {}))
    wrong = [2 * J for J in first[0]], first[1]
    found = {gpu.REFERENCE: (1e-6, first), "tinygrad_dls on NumPy": (1e-6, wrong)}
    monkeypatch.setattr(gpu, "PROBLEMS", [problem])
    monkeypatch.setattr(gpu, "PEERS", found)
    monkeypatch.setattr(gpu, "in_a_process", lambda name, problem: found[name])
    gpu.table("this card")
    *_, reference, other = capsys.readouterr().out.splitlines()
    assert reference.split()[-1] == "1.0"
    assert "other numbers: Not equal to tolerance" in other


def test_without_a_gpu_nothing_is_tested_and_that_is_said(monkeypatch, capsys):
    monkeypatch.setattr(gpu, "CUPY", None)
    monkeypatch.setattr(gpu, "WHY_NOT", "CuPy finds no GPU")
    gpu.main()
    said = capsys.readouterr().out
    assert said.startswith("No GPU, no test: CuPy finds no GPU. On a machine with an NVIDIA card: pip install ")
    assert said.endswith("[gpu]'\n")


def test_all_tests_of_devices_are_among_those_that_run_on_a_gpu():
    using = {
        str(path.relative_to(gpu.ROOT))
        for path in (gpu.ROOT / "tests").rglob("test_*.py")
        if re.search(r"def test_\w+\(device\b", path.read_text(encoding="utf-8"))
    }
    assert len(using) >= 4
    assert using - set(gpu.TESTS) == set()


def test_the_page_of_data_in_chunks_shows_what_was_measured():
    page = dask_scaling.PAGE.read_text()
    assert dask_scaling.written(page) == page
    measured = {row["part"] for row in dask_scaling.load("dask_scaling")["rows"]}
    assert measured == dask_scaling.PARTS.keys()
