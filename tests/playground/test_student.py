"""A typed backward pass: run on copies, and diagnosed."""

import json

import pytest

from playground.engine import bridge, student


def ask(name, **options):
    return json.loads(bridge.call(name, json.dumps(options)))


SET_UPS = [
    {},
    {"hidden": []},
    {"hidden": [5, 3], "activation": "relu", "init": "he"},
    {"activation": "sigmoid", "l2": 0.5},
    {"dropout": 0.3},
]


@pytest.fixture(params=SET_UPS, ids=str)
def started(request):
    ask("start", settings=request.param)
    ask("advance", milliseconds=1e9, most=5)


@pytest.mark.usefixtures("started")
def test_the_answer_is_right():
    report = ask("check", text=ask("answer")["code"])
    assert report.get("report", report).endswith("All of these are right.")


@pytest.mark.usefixtures("started")
def test_the_first_line_of_the_template_is_right():
    assert "  right" in ask("check", text=ask("template")["code"])["report"]


def test_a_planted_mistake_is_named():
    ask("start", settings={})
    ask("advance", milliseconds=1e9, most=50)
    code = ask("answer")["code"].replace("dW2 = dZ2 @ A1.T", "dW2 = dZ2 @ A1.T / m")
    found = ask("check", text=code)
    assert found["wrong"] == "dW2"
    assert "WRONG: 1/m twice" in found["report"]


def test_a_wrong_forward_pass_is_found_too():
    ask("start", settings={})
    ask("advance", milliseconds=1e9, most=50)
    code = ask("answer")["code"].replace("A1 = np.tanh(Z1)", "A1 = np.maximum(Z1, 0)")
    assert ask("check", text=code)["wrong"] == "A1"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("dZ2 = A2 - Y\ndW2 = dZ2 @ A3.T", "Line 2: NameError: name 'A3' is not defined"),
        ("dZ2 = (A2 - Y", "Line 1: SyntaxError: '(' was never closed"),
        ("x = 1", "The code leaves no gradient. It should set dZ2, dW2, db2, dA1, dZ1, dW1, db1, or some of these."),
        ("raise SystemExit(3)", "Line 1: SystemExit: 3"),
        ("def f():\n    return 1 / 0\nf()", "Line 2: ZeroDivisionError: division by zero"),
        ("dW2 = 'none'", "dW2"),
    ],
)
def test_code_that_does_not_run_is_answered_with_its_line(code, said):
    ask("start", settings={})
    assert said in ask("check", text=code)["error"]


@pytest.mark.parametrize("code", ["while True: pass", "def f():\n    while True:\n        x = 1\nf()"])
def test_a_loop_without_an_end_is_ended(code, monkeypatch):
    monkeypatch.setattr(student, "SECONDS", 0.2)
    ask("start", settings={})
    assert ask("check", text=code)["error"].startswith("The code was not at its end after 0.2 s")


def test_what_is_printed_is_shown():
    ask("start", settings={})
    assert ask("check", text="print(X.shape)\ndZ2 = (A2 - Y) / m")["printed"] == "(2, 320)\n"


def test_the_network_cannot_be_changed_by_the_code():
    ask("start", settings={})
    before = ask("advance", milliseconds=1e9, most=3)["costs"]
    ask("check", text="X[:] = 0; Y[:] = 0; W1[:] = 9; b2[:] = 9; dZ2 = A2 - Y")
    ask("rewind")
    assert ask("advance", milliseconds=1e9, most=3)["costs"] == before
