"""The benchmarks compare equal things: the peers that need no extra take the same steps at every measured shape."""

import re
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import dask_scaling, eager_parts, engine, estimators, gpu, ratios, report
from benchmarks.problems import COURSE, DTYPES, SHAPES, Problem
from benchmarks.turns import (
    PEERS,
    REFERENCE,
    check_equal,
    first_steps,
    made,
    processors,
    settings_of,
    side_by_side,
)  # fmt: skip

SHRUNK = [Problem(sizes, min(m, 40), dtype) for sizes, m in SHAPES for dtype in DTYPES]
WITHOUT_EXTRA = ["NumPy, planned", "eager", "compiled", "compiled, in C", "C by hand"]


def peer_of(name, problem):
    options = PEERS[name].options[0]
    return made(name, problem, {key: value for key, value in options.items() if key != "blas_threads"})


@pytest.mark.parametrize(
    ("name", "problem"), [(name, x) for name in WITHOUT_EXTRA for x in SHRUNK if PEERS[name].fits(x)], ids=str
)
def test_peers_take_the_same_steps(name, problem):
    expected = first_steps(made(REFERENCE, problem, {}))
    check_equal(first_steps(peer_of(name, problem)), expected, problem)


def test_c_by_hand_exists_where_no_product_is_large():
    assert all(PEERS["C by hand"].fits(Problem(sizes, m, "float32")) for sizes, m in COURSE)
    assert not any(PEERS["C by hand"].fits(Problem(sizes, 40, "float32")) for sizes in ((784, 128, 1), (20, 10, 5)))


@pytest.mark.parametrize("name", [REFERENCE, *WITHOUT_EXTRA])
def test_a_restarted_peer_repeats_its_steps(name):
    problem = SHRUNK[0]
    peer = peer_of(name, problem)
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


def test_peers_on_one_core_are_timed_by_both_clocks():
    """The process of a peer has one core; this one has its own back afterwards."""
    before = processors()
    found = side_by_side(
        SHRUNK[0], ["compiled", "NumPy, plain", "C by hand"], budget=0.1, rounds=(2, 2), turn=0.001, cores=1
    )
    assert processors() == before
    assert [peer["settings"] for peer in found.values()] == [{}, {"blas_threads": 1}, {}]
    assert all(len(peer[clock]) == 2 for peer in found.values() for clock in ratios.CLOCKS)
    assert settings_of([{"m": 1, "peers": found}], m=1) == {name: peer["settings"] for name, peer in found.items()}
    assert settings_of([{"m": 1, "peers": found}], m=2) == {}


def row_of(m, **seconds):
    peers = {name: {"seconds": [s] * 3, "processor": [2 * s] * 3} for name, s in seconds.items()}
    return {"network": "2-4-1", "sizes": [2, 4, 1], "m": m, "dtype": "float32", "cores": 1, "peers": peers}


def test_a_table_says_where_a_step_is_slower_and_what_is_the_mean():
    rows = [row_of(400, compiled=2e-6, eager=8e-6, PyTorch=1e-6), row_of(10, compiled=2e-6, eager=2e-6)]
    *_, first, second, mean, of_course = ratios.step_ratios(rows, "compiled", ["eager", "PyTorch"]).splitlines()
    assert "| 4.00<br>4.00 ... 4.00 | **0.50**<br>" in first
    assert second.endswith("| 1.00<br>1.00 ... 1.00 |  |")
    assert mean.endswith("| 2.00 | 0.50 |")
    assert of_course.endswith("| 4.00 | 0.50 |")
    assert "| compiled | PyTorch | 2-4-1, m = 400: 0.50 in float32 |" in ratios.losses(rows)
    assert ratios.step_ratios(rows, "compiled, in C", ["eager"]) == ratios.NOT_YET


def test_a_goal_that_is_missed_names_the_rows():
    goal = ratios.Goal("eager", "every row", lambda row: True, each=2.0, mean=3.0)
    line = ratios.line_of(goal, [row_of(400, compiled=2e-6, eager=8e-6), row_of(10, compiled=2e-6, eager=2e-6)])
    assert line[3:5] == ["2; 3 in the geometric mean", "least 1.00; geometric mean 2.00"]
    assert line[5] == "2-4-1, m = 10: 1.00 in float32<br>the geometric mean"
    assert ratios.line_of(goal, [row_of(400, PyTorch=1e-6)]) is None


def test_the_parts_of_an_eager_step_add_up_to_it():
    """Whatever the paths take: each but the step itself is taken away as often as it is added."""
    took = {path: [1.7**i] for i, path in enumerate(eager_parts.paths(Problem((2, 4, 1), 8, "float32")))}
    assert sum(eager_parts.spent(took).values()) == pytest.approx(took[eager_parts.STEP][0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_paths_of_an_eager_step_compute_the_same(dtype):
    problem = Problem((2, 4, 1), 40, dtype)
    paths = eager_parts.paths(problem)
    plain = made(REFERENCE, problem, {})
    cost, parameters = plain.step(), plain.parameters()
    tolerance = 1e-5 if dtype == "float32" else 1e-12  # sums of 40 numbers
    for path in ("ops: forward", "ops, watched: forward", "model", "cost"):
        assert paths[path]().item() == pytest.approx(cost, rel=tolerance)
    assert paths["rules: forward"]()[0] == pytest.approx(cost, rel=tolerance)
    for found, expected in zip(paths["rules: update"](), parameters.values(), strict=True):
        np.testing.assert_allclose(found, expected, atol=tolerance)
    assert paths[eager_parts.STEP]() == pytest.approx(cost, rel=tolerance)


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
