"""Every example runs, and its numbers are what its text says they are."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tinygrad_dls as tg
from examples import (
    activation_functions,
    breast_cancer,
    demo,
    derive_the_gradients,
    digits,
    draw_the_graph,
    from_picture_to_code,
    gradient_checking,
    gradient_descent,
    initialisation,
    l_layer,
    logistic_regression,
    loop_and_vectorized,
    newton,
    numpy_code,
    optimizers,
    regularisation,
    two_layer_network,
)
from tests import gallery
from tinygrad_dls.extras import install

ROOT = Path(__file__).parents[1]
COURSE = {entry["id"]: entry for entry in json.loads((ROOT / "tests/data/course_tables.json").read_text())["entries"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("output") / "made" / "by the examples"


def assert_pictures(folder, *names):
    for name in names:
        assert (folder / name).read_bytes().startswith(b"\x89PNG"), name
        assert (folder / name).stat().st_size > 10_000, name


# -- logistic regression ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def logistic(folder):
    return logistic_regression.main(folder)


def test_cost_is_the_negative_log_likelihood_over_m(logistic):
    assert logistic["likelihood_difference"] < 1e-13
    assert logistic["cost_difference"] < 1e-13


def test_logit_undoes_the_sigmoid(logistic):
    assert logistic["link_difference"] < 1e-13  # 1 - a loses digits near 1


@pytest.mark.parametrize("name", ["dA", "dZ", "dW", "db"])
def test_chain_rule_of_logistic_regression_follows_the_formulas(logistic, name):
    assert logistic["chain"][name] < 1e-12  # db is a sum that nearly cancels, so its rounding errors show


def test_fused_cost_has_the_gradient_of_the_composed_one(logistic):
    assert logistic["fused_difference"] < 1e-14


def test_logistic_regression_cannot_learn_the_flower(logistic):
    assert 0.45 <= logistic["accuracy"] <= 0.6
    assert logistic["cost"] == pytest.approx(0.673146, abs=1e-6)  # the minimum of a convex cost


# -- loop and vectorized ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def three_ways():
    return loop_and_vectorized.main()


def test_loop_vectorized_and_autodiff_agree(three_ways):
    assert max(three_ways["differences"].values()) < 1e-12
    assert max(three_ways["costs"].values()) - min(three_ways["costs"].values()) < 1e-14


def test_the_sketch_is_trained_until_convergence(three_ways):
    assert three_ways["gradient"] < 1e-5
    assert all(100 < steps < 1000 for steps in three_ways["steps"].values())


def test_one_step_of_the_loop_is_one_step_of_the_vectorized():
    rng = np.random.default_rng(0)
    x, y, w, b = rng.normal(size=(4, 20)), rng.integers(2, size=(1, 20)), rng.normal(size=(1, 4)), np.ones((1, 1))
    for ours, theirs in zip(
        loop_and_vectorized.loop_step(x, y, w, b), loop_and_vectorized.vectorized_step(x, y, w, b), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-13, atol=1e-15)


# -- two-layer network ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def network(folder):
    return two_layer_network.main(folder)


def test_two_layer_network_gives_the_course_table(network):
    published = COURSE["c1w3.flower"]["expected"]["costs"]
    assert [row for row, _ in published] == list(range(0, 8000, 1000))
    assert [f"{network['costs'][row]:.6f}" for row, _ in published] == [f"{cost:.6f}" for _, cost in published]
    assert max(network["costs"]) == 9000


@pytest.mark.parametrize("name", ["dZ2", "dW2", "db2", "dA1", "dZ1", "dW1", "db1"])
def test_autodiff_agrees_with_the_hand_derived_gradient(network, name):
    assert network["differences"]["first"][name] <= 1e-14
    # dW and db are sums of 400 terms that nearly cancel once trained: errors of 1e-16 each grow relative to the sum.
    assert network["differences"]["trained"][name] <= 1e-12


def test_two_layer_network_learns_the_flower(network):
    assert network["accuracy"] > 0.89  # 90.75% here; the last bits decide about a few examples


# -- activation functions ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def activations(folder):
    return activation_functions.main(folder)


def test_derivatives_of_the_activations_are_the_closed_forms(activations):
    z = np.array([-10.0, -2.0, 0.0, 2.0, 10.0])
    expected = {"sigmoid": 1 / (2 + 2 * np.cosh(z)), "tanh": 1 / np.cosh(z) ** 2, "ReLU": np.where(z > 0, 1.0, 0.0)}
    for name, values in expected.items():
        # 1 - a^2 with a near 1 keeps half the digits of so small a number
        np.testing.assert_allclose(activations["derivatives"][name], values, rtol=1e-7)


@pytest.mark.parametrize("hidden", [4, 20])
def test_tanh_is_ahead_of_sigmoid_and_relu_behind_both_on_the_flower(activations, hidden):
    cost = {name: activations["training"][name, hidden]["cost"] for name in ("sigmoid", "tanh", "ReLU")}
    assert cost["tanh"] < cost["sigmoid"] < cost["ReLU"]


def test_only_the_sigmoid_loses_the_gradient_through_ten_layers(activations):
    assert activations["depth"]["sigmoid"] < 1e-4
    assert activations["depth"]["tanh"] > 0.1
    assert activations["depth"]["ReLU"] > 0.1


# -- gradient descent -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def descent(folder):
    return gradient_descent.main(folder)


def test_sgd_is_the_update_rule_to_the_last_bit(descent):
    assert descent["identical"]
    assert descent["largest_step_difference"] == 0


def test_a_learning_rate_can_be_too_small_and_too_large(descent):
    small, good, large = (descent["by_rate"][verdict] for verdict in ("too small", "good", "too large"))
    assert np.all(np.diff(small) < 0)
    assert small[-1] > 0.65
    assert good[-1] < 0.26
    assert max(large) > 2 * large[0]
    assert np.median(large) > good[-1]


def test_momentum_and_adam_are_ahead_of_plain_descent_on_the_flower(descent):
    plain, *others = (costs[-1] for costs in descent["by_rule"].values())
    assert max(others) < plain


# -- the network with L layers ----------------------------------------------------------------------------------------


def test_the_l_layer_network_draws_its_weights_from_the_courses_stream():
    np.random.seed(3)
    W1, W2 = np.random.randn(10, 2) * np.sqrt(2 / 2), np.random.randn(5, 10) * np.sqrt(2 / 10)
    state = l_layer.network((2, 10, 5, 1), rng=np.random.RandomState(3)).state_dict()
    assert list(state) == ["W1", "b1", "W2", "b2", "W3", "b3"]
    np.testing.assert_array_equal(state["W1"], W1)
    np.testing.assert_array_equal(state["W2"], W2)


def test_scikit_learns_data_come_as_columns_from_the_legacy_stream():
    from sklearn.datasets import make_moons

    np.random.seed(3)
    points, labels = make_moons(n_samples=300, noise=0.2)
    X, Y = l_layer.scikit_learns("make_moons", n_samples=300, noise=0.2, random_state=3)
    np.testing.assert_array_equal(X, points.T)
    np.testing.assert_array_equal(Y, labels[None, :])


def test_missing_scikit_learn_is_explained(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=re.escape(install("demo"))):
        l_layer.scikit_learns("make_moons")


@pytest.fixture(scope="module")
def read_digits(folder):
    return digits.main(folder)


def test_both_networks_read_nineteen_of_twenty_held_out_digits(read_digits):
    for name, result in read_digits.items():
        assert result["held_out"] > 0.95, name
        assert result["confusion"].sum() == 597
        assert result["mistakes"] == 597 - np.trace(result["confusion"])
    assert read_digits["four layers"]["accuracy"] == 1
    assert read_digits["four layers"]["costs"][-1] < 0.2 * read_digits["two layers"]["costs"][-1]


@pytest.fixture(scope="module")
def initialised(folder):
    return initialisation.main(folder)


def test_zeros_learn_nothing(initialised):
    assert initialised["zeros"]["alike"]
    np.testing.assert_allclose(list(initialised["zeros"]["costs"].values()), np.log(2), rtol=1e-12)
    assert initialised["zeros"]["test"] == 0.5


def test_large_weights_start_far_away_and_hes_learn_the_circle(initialised):
    large, he = initialised["large random"], initialised["He"]
    assert large["costs"][0] > 1000
    assert he["costs"][0] < 1
    assert he["costs"][14] < 0.25 * large["costs"][14]
    assert large["test"] < 0.9 < 0.95 < he["test"]
    assert not he["alike"]


@pytest.fixture(scope="module")
def regularised(folder):
    return regularisation.main(folder)


def test_l2_and_dropout_trade_training_accuracy_for_test_accuracy(regularised):
    none = regularised["none"]
    assert none["accuracy"] == 1
    for kind in ("L2", "dropout"):
        assert regularised[kind]["accuracy"] < none["accuracy"]
        assert regularised[kind]["test"] > none["test"] + 0.02
        assert regularised[kind]["test_cost"] < 0.75 * none["test_cost"]
    assert regularised["L2"]["weights"] < 0.5 * none["weights"]


@pytest.fixture(scope="module")
def optimized(folder):
    return optimizers.main(folder)


def test_adam_is_there_while_gradient_descent_and_momentum_are_on_their_way(optimized):
    descent, momentum, adam = (optimized[name]["costs"] for name in ("gradient descent", "momentum", "Adam"))
    assert adam[1000] < 0.2 < 0.4 < descent[-1]
    np.testing.assert_allclose(momentum, descent, rtol=2e-3)  # a mean of gradients that hardly change
    assert optimized["whole batches"]["costs"][-1] > descent[1000] - 0.05
    assert optimized["Adam"]["accuracy"] > 0.93
    assert 0.75 < optimized["gradient descent"]["accuracy"] < 0.85


def test_the_courses_mini_batches_hold_every_example_once():
    X, Y = np.arange(300.0).reshape(1, -1), np.arange(300).reshape(1, -1)
    batches = list(optimizers.course_batches(X, Y, seed=10))
    assert [x.shape[1] for x, _ in batches] == [64, 64, 64, 64, 44]
    assert sorted(np.concatenate([x[0] for x, _ in batches])) == list(range(300))
    assert all(np.array_equal(x, y) for x, y in batches)
    np.random.seed(10)
    np.testing.assert_array_equal(batches[0][1][0], np.random.permutation(300)[:64])


@pytest.fixture(scope="module")
def gradient_checked(folder):
    return gradient_checking.main(folder)


def test_the_gradient_check_gives_the_courses_number_for_its_two_bugs(gradient_checked):
    published = COURSE["c2w1.gradcheck.buggy"]["expected"]["difference"]
    # the slopes of a step of 1e-7 are rounded in the seventh digit
    assert gradient_checked["differences"]["dW2 * 2, db1 * 4 (the course's)"] == pytest.approx(published, abs=1e-6)
    assert gradient_checked["differences"]["none"] < 10 * COURSE["c2w1.gradcheck.fixed"]["expected"]["difference"]
    wrong = {name for name, number in gradient_checked["by array"].items() if number > 1e-4}
    assert wrong == {"dW2", "db1"}


def test_every_planted_bug_is_seen_by_the_check_and_found_by_diagnose(gradient_checked):
    bugs = [bug for bug in gradient_checking.BUGS if bug != "none"]
    assert min(gradient_checked["differences"][bug] for bug in bugs) > 0.01
    found = gradient_checked["first wrong"]
    assert [found[bug] for bug in ("none", *bugs)] == [None, "dW2", "dW1", "db2", "dW2", "dW2"]
    assert all(gradient_checked["causes"][bug] for bug in bugs)


def test_two_sides_are_better_than_one_and_steps_can_be_too_long_and_too_short(gradient_checked):
    two, one = (np.array(gradient_checked["by epsilon"][kind]) for kind in ("two sides", "one side"))
    assert two.min() < 0.1 * one.min()
    for numbers in (one, two):
        assert 0 < np.argmin(numbers) < len(numbers) - 1


# -- breast cancer ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cancer(folder):
    return breast_cancer.main(folder)


def test_the_table_is_read_back_as_it_was_written(cancer, folder):
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    table = tg.datasets.read_csv(folder / "breast_cancer.csv", target="diagnosis")
    assert cancer["shape"] == (30, 569)
    assert table.features == tuple(data.feature_names)
    assert table.classes == cancer["classes"] == ("benign", "malignant")
    np.testing.assert_array_equal(table.X, data.data.T)
    np.testing.assert_array_equal(table.Y[0], 1 - data.target)  # scikit-learn calls benign 1


@pytest.mark.parametrize("model", ["logistic", "network"])
def test_both_models_tell_held_out_tumours_apart(cancer, model):
    confusion = np.array(cancer[model]["confusion"])
    assert cancer[model]["accuracy"] > 0.93
    assert confusion.sum() == 170
    assert np.trace(confusion) / 170 == pytest.approx(cancer[model]["accuracy"])


def test_unpenalised_coefficients_agree_with_scikit_learn(cancer):
    assert cancer["epochs"] < 20_000  # it stopped because the gradient is zero to 1e-13
    np.testing.assert_allclose(cancer["coefficients"], cancer["scikit_learn"], rtol=1e-9)


def test_standardised_features_have_mean_0_and_standard_deviation_1():
    X = np.random.default_rng(0).normal(3, 5, size=(4, 50))
    Z = breast_cancer.standardised(X, like=X)
    np.testing.assert_allclose(Z.mean(axis=1), 0, atol=1e-14)
    np.testing.assert_allclose(Z.std(axis=1), 1)


# -- Newton's method --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def second_order(folder):
    return newton.main(folder)


def test_hessian_of_logistic_regression_is_the_formula(second_order):
    assert second_order["hessian_difference"] < 1e-14


def test_newton_converges_quadratically(second_order):
    before = np.array(second_order["gradients"][5:8])
    after = np.array(second_order["gradients"][6:9])
    assert len(second_order["gradients"]) <= 11
    assert second_order["gradients"][-1] < 1e-15
    np.testing.assert_allclose(after / before**2, 50, rtol=0.1)  # a constant: each step squares the gradient
    assert second_order["descent_steps"] > 100 * len(second_order["gradients"])


def test_newton_and_gradient_descent_with_momentum_find_the_same_coefficients(second_order, cancer):
    np.testing.assert_allclose(second_order["ours"]["coefficient"], cancer["coefficients"], rtol=1e-9)


@pytest.mark.parametrize("name", ["coefficient", "error", "z", "low", "high"])
def test_estimates_and_standard_errors_are_those_of_statsmodels(second_order, name):
    np.testing.assert_allclose(second_order["ours"][name], second_order["statsmodels"][name], rtol=1e-12)


def test_newton_refuses_separable_classes(second_order):
    assert "the classes are separable" in second_order["separable"]
    X, Y = newton.with_ones(np.array([[-2.0, -1.0, 1.0, 3.0]])), np.array([[0, 0, 1, 1]])
    with pytest.raises(ValueError, match=r"newton: at step 1 every example is on its own side.*no maximum"):
        newton.newton(X, Y)


@pytest.mark.parametrize(
    ("x", "labels"),
    [
        ([[1, 2, 3, 4], [2, 4, 6, 8]], [0, 1, 0, 1]),  # one feature is twice the other
        ([[1, 2, 3, 4], [5, 5, 5, 5]], [0, 1, 0, 1]),  # one is constant, as that of b is
        ([[-2, -1, 0, 0, 1, 2]], [0, 0, 0, 1, 1, 1]),  # parted but for two that touch: w grows for ever
    ],
)
def test_newton_refuses_a_singular_hessian(x, labels):
    with pytest.raises(ValueError, match=r"newton: the Hessian is singular at .* no unique minimum"):
        newton.newton(newton.with_ones(np.array(x, float)), np.array([labels]))


def test_newton_says_when_the_steps_do_not_settle():
    X = newton.with_ones(np.array([[-2.0, -1.0, 0.0, 1.0]]))
    with pytest.raises(ValueError, match="have not settled; max_steps is 1"):
        newton.newton(X, np.array([[0, 1, 0, 1]]), max_steps=1)


def test_newton_runs_without_statsmodels(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "statsmodels.api", None)
    assert newton.main()["statsmodels"] is None
    assert "pip install statsmodels" in capsys.readouterr().out


# -- the three readers of the graph -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def graph(folder):
    return draw_the_graph.main(folder)


def test_edges_of_the_pictures_carry_the_local_derivatives_of_the_notes(graph):
    assert graph["edges"]["A", "J"] == "((1 - Y) / (1 - A) - Y / A) / m"
    assert graph["edges"]["Z", "A"] == "A (1 - A)"
    assert graph["edges"]["W", "Z"] == "Xᵀ"
    assert graph["edges"]["Z1", "A1"] == "1 - A1²"
    assert graph["edges"]["A1", "Z2"] == "W2ᵀ"
    for text in graph["edges"].values():
        assert any(text in picture.source for picture in graph["pictures"].values()), text


def test_a_deep_network_is_four_boxes_with_its_modules_closed(graph):
    assert repr(graph["pictures"]["five_layers_graph"]).startswith("Drawing of J: 22 boxes")
    assert repr(graph["pictures"]["five_layers_closed_graph"]).startswith("Drawing of J: 4 boxes")


def test_graphs_are_written_as_svg_and_as_pages(graph, folder):
    for name in graph["pictures"]:
        assert "</svg>" in (folder / f"{name}.svg").read_text(encoding="utf-8")
        assert "tg-figure" in (folder / f"{name}.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def derived(folder):
    return derive_the_gradients.main(folder)


def test_the_derivation_arrives_at_a_minus_y_and_at_the_gradients(derived):
    assert "= a - y\n" in derived["logistic_regression"].text
    assert derived["logistic_regression"].formulas["dZ"] == "(A - Y) / m"
    assert derived["two_layer_network"].formulas["dZ1"] == "dA1 * (1 - A1**2)"
    assert len(derived["differences"]) == 6
    assert max(derived["differences"].values()) < 1e-14  # a few roundings of 1.1e-16, in sums that hardly cancel


def test_derivations_are_written_as_pages_markdown_and_latex(derived, folder):
    for name in ("logistic_regression", "two_layer_network"):
        assert "<math" in (folder / f"{name}_derivation.html").read_text(encoding="utf-8")
        assert (folder / f"{name}_derivation.md").read_text(encoding="utf-8") == derived[name].markdown
        assert (folder / f"{name}_derivation.tex").read_text(encoding="utf-8").startswith(r"\documentclass")


@pytest.fixture(scope="module")
def typed(folder):
    return numpy_code.main(folder)


def test_the_printed_code_trains_the_flower_as_fit_does(typed):
    assert typed["logistic_regression"]["costs"][-1] == pytest.approx(0.673146, abs=1e-6)
    published = [(row, cost) for row, cost in COURSE["c1w3.flower"]["expected"]["costs"] if row < numpy_code.EPOCHS]
    assert len(published) == 5
    costs = typed["two_layer_network"]["costs"]
    assert [f"{costs[row]:.6f}" for row, _ in published] == [f"{cost:.6f}" for _, cost in published]
    for result in typed.values():
        assert result["difference"] < 1e-9  # the last bits of the sums differ, and grow over 5,000 steps


def test_the_printed_code_is_a_file_that_needs_numpy_alone(typed, folder):
    for name in ("logistic_regression", "two_layer_network"):
        text = (folder / f"{name}_step.py").read_text(encoding="utf-8")
        assert text == typed[name]["source"]
        assert [line for line in text.splitlines() if "import" in line] == ["import numpy as np"]


@pytest.fixture(scope="module")
def walk(folder):
    from_picture_to_code.main(folder)
    return (folder / "from_picture_to_code.html").read_text(encoding="utf-8")


def test_the_page_has_picture_derivation_and_code_of_both_models(walk):
    for ident in from_picture_to_code.MODELS:
        section = walk.split(f'<section class="model" id="{ident}">')[1].split('<section class="model"')[0]
        assert section.count("<svg") == section.count('class="tg-facts"') == 1
        assert section.count('class="step"') >= 12
        assert "<mi>" in section
        assert "def step(X, Y, W" in section
    assert "dZ = (A - Y) / m" in walk
    assert "dZ2 = (A2 - Y) / m" in walk


def test_the_page_loads_nothing_and_its_links_lead_somewhere(walk):
    names = re.findall(r'\sid="([^"]+)"', walk)
    assert len(names) == len(set(names))
    links = [link for link in re.findall(r'<(?:a|link)\b[^>]*?\shref="([^"]*)"', walk) if link != "data:,"]
    assert len(links) >= 10
    assert {link.removeprefix("#") for link in links} <= set(names)
    assert not re.search(r"\ssrc=|@import|url\((?!#)|\bfetch\(|<iframe|<object", walk)
    assert set(re.findall(r"https?://[\w./]+", walk)) <= {
        "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink", "http://www.w3.org/1998/Math/MathML",
    }  # fmt: skip


# -- all of them ------------------------------------------------------------------------------------------------------


def test_pictures_are_written(
    folder, logistic, network, activations, descent, cancer, second_order,
    read_digits, initialised, regularised, optimized, gradient_checked,
):  # fmt: skip
    assert_pictures(
        folder,
        "logistic_regression_boundary.png",
        "two_layer_network_boundary.png",
        "two_layer_network_cost.png",
        "activation_functions.png",
        "activation_functions_cost.png",
        "gradient_descent_cost.png",
        "breast_cancer_cost.png",
        "newton.png",
        "digits_cost.png",
        "digits_mistakes.png",
        "initialisation_boundary.png",
        "initialisation_cost.png",
        "regularisation_boundary.png",
        "optimizers_boundary.png",
        "optimizers_cost.png",
        "gradient_checking.png",
    )


GALLERY = (ROOT / "docs/gallery.md").read_text(encoding="utf-8")


def test_the_gallery_shows_every_example():
    names = set(re.findall(r"\(examples/(\w+)\.md\)", GALLERY))
    assert sorted(names) == sorted(example.__name__.split(".")[-1] for example in demo.EXAMPLES)


@pytest.mark.parametrize("name", gallery.PICTURES)
def test_a_thumbnail_is_what_the_example_draws(
    name, folder, logistic, network, activations, descent, cancer, second_order,
    read_digits, initialised, regularised, optimized, gradient_checked,
):  # fmt: skip
    assert f"](assets/gallery/{name}.png)" in GALLERY
    now = gallery.thumbnail(folder / gallery.PICTURES[name])
    shown = Image.open(gallery.FOLDER / f"{name}.png").convert("RGB")
    assert shown.size == now.size, "python -m tests.gallery demo_output makes it anew"
    # The mean of a pixel's differences, of 255: 256 colours make less than 1, the next row 5, another picture 12.
    apart = np.abs(np.asarray(shown, float) - np.asarray(now, float)).mean()
    # A learning rate of 20 jumps about, and rounding, which differs between processors, decides where to: 10 apart.
    assert apart < (15 if name == "gradient_descent" else 4), "python -m tests.gallery demo_output makes it anew"


@pytest.mark.parametrize("example", [loop_and_vectorized, derive_the_gradients, numpy_code])
def test_what_the_gallery_quotes_is_what_the_example_prints(example, capsys):
    name = example.__name__.split(".")[-1]
    card = next(card for card in GALLERY.split('<div class="card" markdown>') if f"(examples/{name}.md)" in card)
    (quoted,) = re.findall(r"^```text\n(.*?)^```", card, re.MULTILINE | re.DOTALL)
    example.main()
    printed = capsys.readouterr().out
    assert [line for line in quoted.splitlines() if line.strip() not in printed] == []


def test_demo_runs_the_three_main_examples_first_and_lists_its_files(tmp_path, monkeypatch, capsys):
    main_ones = (logistic_regression, two_layer_network, breast_cancer)
    assert demo.EXAMPLES[:3] == main_ones
    monkeypatch.setattr(demo, "EXAMPLES", main_ones)  # the rest is run above
    assert list(demo.main(tmp_path)) == ["logistic_regression", "two_layer_network", "breast_cancer"]
    listed = capsys.readouterr().out.split("Files in ")[1]
    assert all(path.name in listed for path in tmp_path.iterdir())
    assert_pictures(tmp_path, *(path.name for path in tmp_path.glob("*.png")))


def test_an_example_runs_from_the_command_line_without_matplotlib(tmp_path):
    code = (
        "import runpy, sys; sys.modules['matplotlib'] = None; sys.argv = ['logistic_regression']; "
        "runpy.run_module('examples.logistic_regression', run_name='__main__')"
    )
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "47.00%" in run.stdout


def test_missing_matplotlib_is_explained(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=re.escape(install("plot"))):
        logistic_regression.main(tmp_path)
