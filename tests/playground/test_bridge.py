"""What the page asks: JSON in, JSON out, and errors in the package's own words."""

import base64
import json
import math

import numpy as np
import pytest

import tinygrad_dls as tg
from playground.engine import bridge

PLANTS = "length;width;colour;kind\n" + "".join(
    f"{4 + i % 7 / 10 + i % 3},{2 + i % 5};{('red', 'blue')[i % 2]};{('oak', 'elm', 'ash')[i % 3]}\n".replace(
        ",", ";", 1
    )
    for i in range(60)
)
PRICES = "size,price\n" + "".join(f"{i},{3.5 * i + i % 3}\n" for i in range(40))


def ask(name, **options):
    return json.loads(bridge.call(name, json.dumps(options)))


def read(text, **others):
    """Start with a CSV as the page proposes to read it."""
    proposal = ask("columns", text=text)["proposed"]
    return ask("start", settings=proposal | others, text=text, file="mine.csv")


def test_the_choices_are_those_that_settings_take():
    found = ask("choices")
    assert ask("start", settings=found["defaults"])["settings"] == found["defaults"]
    assert found["version"] == tg.__version__


def test_a_training_is_told_piece_by_piece():
    ask("start", settings={})
    first, second = ask("advance", milliseconds=1e9, most=5), ask("advance", milliseconds=1e9, most=9)
    assert (first["epoch"], second["epoch"], second["since"]) == (5, 9, 5)
    assert [len(x["costs"]) for x in (first, second)] == [5, 4]
    ask("rewind")
    assert ask("advance", milliseconds=1e9, most=9)["costs"] == first["costs"] + second["costs"]


def test_the_last_column_of_a_csv_is_predicted_and_texts_are_categories():
    about = read(PLANTS)
    assert about["classes"] == ["ash", "elm", "oak"]
    assert about["features"] == ["length", "width", "colour=blue", "colour=red"]
    assert about["target"] == "kind"
    assert about["examples"] + about["held"] == 60


def test_a_table_is_standardised_by_the_examples_that_are_trained_with():
    read(PLANTS)
    X = bridge._now().data.X
    np.testing.assert_allclose(X.mean(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(X.std(axis=1), 1)


def test_a_number_is_predicted_in_standard_deviations():
    about = read(PRICES, lr=0.1, init="xavier")
    assert about["classes"] == []
    ask("advance", milliseconds=1e9, most=2000)
    assert ask("figures")["held"] > 0.95  # R^2


def test_few_whole_numbers_are_classes_unless_a_number_is_asked_for():
    text = "x,y\n" + "".join(f"{i},{i % 2}\n" for i in range(40))
    assert read(text)["classes"] == ["0", "1"]
    assert read(text, task="number")["classes"] == []
    assert "has 40 different numbers" in read(PRICES, task="classes")["error"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (PRICES.replace("\n7,", "\nseven,"), "mine.csv, line 9, column 1 ('size'): 'seven' is not a number"),
        (PRICES.replace("\n7,", "\n,"), "mine.csv, line 9, column 1 ('size'): the cell is empty"),
        (PRICES.replace("size", "price"), "mine.csv: columns named twice: 'price'."),
        (PRICES.replace("\n7,25.5\n", "\n7\n"), "mine.csv, line 9"),
        ("x,y\n1,a\n2,a\n3,a\n4,a\n", "All examples are of the class 'a'"),
        ("x,y\n1,a\n2,b\n", "There are 2 examples, which are too few to learn from."),
    ],
)
def test_a_bad_csv_is_refused_in_the_readers_own_words(text, said):
    ask("start", settings={})
    answer = read(text)
    assert said in answer["error"]
    assert ask("about")["settings"]["data"] == "flower"  # what was there is still there


def test_of_a_table_some_columns_can_be_features_and_others_axes():
    about = read(PLANTS, features=["width", "colour=red"], axes=["colour=red", "width"])
    assert about["features"] == ["width", "colour=red"]
    assert about["points"]["axes"] == ["colour=red", "width"]
    assert read(PLANTS, features=["weight"])["error"].startswith(
        "There is no feature 'weight'; there are length, width,"
    )
    said = read(PLANTS, features=["width"], axes=["length", "width"])["error"]
    assert said == "The picture cannot show 'length', which is no feature."


def test_settings_that_a_link_gets_wrong_are_answers_too():
    assert ask("start", settings={"lr": -1})["error"] == "lr is a number from 1e-06 to 100, not -1."


@pytest.mark.parametrize(("given", "rows"), [({}, 1), ({"text": PLANTS}, 3), ({"text": PRICES}, 1)])
def test_the_decision_is_what_the_network_says_of_a_grid(given, rows):
    read(given["text"], lr=0.1) if given else ask("start", settings={})
    ask("advance", milliseconds=1e9, most=200)
    said = ask("decision")
    sure = np.frombuffer(base64.b64decode(said["sure"]), np.uint8)
    classes = np.frombuffer(base64.b64decode(said["classes"]), np.uint8)
    assert sure.shape == classes.shape == (said["n"] ** 2,)
    assert classes.max() < rows
    assert sure.std() > 0


def test_the_top_row_of_the_decision_is_the_largest_of_the_second_axis():
    ask("start", settings={"held_out": 0, "hidden": []})
    W, b = bridge._now().model.parameters()
    W.data, b.data = np.array([[0.0, 5.0]]), np.array([[0.0]])  # sure of class 1 where x2 is large
    sure = np.frombuffer(base64.b64decode(ask("decision")["sure"]), np.uint8).reshape(bridge.GRID, -1)
    assert sure[0].min() > 250 > 5 > sure[-1].max()


def test_pictures_code_and_derivations_leave_the_training_as_it_is():
    ask("start", settings={"batch_size": 64})
    undisturbed = ask("advance", milliseconds=1e9, most=6)["costs"]
    ask("rewind")
    costs = []
    for epoch in range(1, 7):
        costs += ask("advance", milliseconds=1e9, most=epoch)["costs"]
        for name in ("decision", "figures", "network", "histograms", "code", "template", "answer"):
            assert "error" not in ask(name)
    assert costs == undisturbed


@pytest.mark.parametrize(
    "given", [{}, {"hidden": []}, {"hidden": [5, 3], "l2": 0.1, "activation": "relu", "dropout": 0.2}]
)
def test_the_code_of_the_network_runs_and_gives_its_cost_and_gradients(given):
    ask("start", settings=given)
    ask("advance", milliseconds=1e9, most=4)
    namespace = {}
    exec(ask("code")["code"], namespace)
    now = bridge._now()
    model = bridge.views.without_dropout(now)
    arrays = {name: p.data for name, p in model.named_parameters()}
    J, *gradients = namespace["step"](now.data.X, now.data.Y, **arrays, m=now.data.X.shape[1])
    for p in model.parameters():
        p.grad = None
    cost = now.loss(model(now.data.X), now.data.Y)
    cost.backward()
    assert math.isclose(J, cost.item(), rel_tol=1e-12)
    for p, gradient in zip(model.parameters(), gradients, strict=True):
        np.testing.assert_allclose(gradient, p.grad, rtol=1e-9, atol=1e-15)


def test_the_code_may_hold_the_update():
    ask("start", settings={"optimizer": "adam", "lr": 0.01})
    assert "# update" in ask("code", update=True)["code"]
    assert "# update" not in ask("code")["code"]


def test_the_picture_has_the_gradients_of_now():
    ask("start", settings={})
    ask("advance", milliseconds=1e9, most=2)
    dot = ask("network", rankdir="LR")["dot"]
    assert all(name in dot for name in ("dW1", "dZ1", "dZ2", "rankdir=LR"))


def test_the_derivation_is_of_this_network():
    ask("start", settings={"hidden": []})
    assert "<math" in ask("derivation")["html"]


def test_histograms_are_of_weights_and_their_gradients():
    ask("start", settings={})
    assert [found["name"] for found in ask("histograms")] == ["W1", "W2"]  # no step was taken
    ask("step")
    found = ask("histograms")
    assert [x["name"] for x in found] == ["W1", "dW1", "W2", "dW2"]
    assert sum(found[0]["counts"]) == 8


def test_a_cost_that_is_no_number_any_more_ends_the_training_with_a_sentence():
    read(PRICES, activation="relu", init="he", lr=100)
    said = ask("advance", milliseconds=1e9, most=500)
    assert said["stopped"].startswith("The cost is ")
    assert said["stopped"].endswith("Most often the learning rate is too large: it is 100.")
    assert ask("advance", milliseconds=1e9, most=500)["steps"] == said["steps"]
    assert ask("decision")["sure"] == ""
