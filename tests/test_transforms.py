"""Function transforms: they nest, they keep their levels apart, and they say what went wrong."""

import threading
from collections import OrderedDict, namedtuple
from functools import partial
from types import MappingProxyType, SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_dls as tg
from tests.support.numerical import differences
from tests.support.op_cases import CASES
from tinygrad_dls.engine.tensor import values
from tinygrad_dls.symbolic import same, symbols

# The two sides take the same roundings in another order: a handful of 1.1e-16 of numbers of order 1.
EXACT = {"rtol": 1e-13, "atol": 1e-13}
# Central differences of values of order 1, see tests/support/numerical.py.
SLOPE = {"rtol": 1e-6, "atol": 1e-6}


def data(n_x=3, m=8, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_x, m)), rng.integers(0, 2, size=(1, m))


# -- what they compute ------------------------------------------------------------------------------------------------


def test_grad_of_a_cubic():
    x = np.array([1.0, -2.0, 0.5])
    np.testing.assert_array_equal(tg.grad(lambda x: np.sum(x**3))(x), 3 * x**2)


def test_derivatives_of_every_order():
    f, expected = np.sin, [np.sin, np.cos, lambda x: -np.sin(x), lambda x: -np.cos(x), np.sin]
    for derivative in expected:
        assert float(f(0.7)) == pytest.approx(derivative(0.7), rel=1e-15)
        f = tg.grad(f)


def test_value_and_gradient_in_one_pass():
    calls = []

    def f(x):
        calls.append(x)
        return np.sum(x * x)

    value, gradient = tg.value_and_grad(f)(np.array([1.0, 2.0]))
    assert (value, gradient.tolist(), len(calls)) == (5.0, [2.0, 4.0], 1)


def test_argnums_choose_the_arguments():
    f = lambda x, y: np.sum(x * x * y)  # noqa: E731
    x, y = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    np.testing.assert_array_equal(tg.grad(f)(x, y), 2 * x * y)
    np.testing.assert_array_equal(tg.grad(f, 1)(x, y), x * x)
    np.testing.assert_array_equal(tg.grad(f, -1)(x, y), x * x)
    assert tg.grad(lambda *xs: xs[0] * xs[1] * xs[2], -2)(1.0, 2.0, 3.0) == 3
    both = tg.grad(f, (1, 0))(x, y)
    np.testing.assert_array_equal(both[0], x * x)
    np.testing.assert_array_equal(both[1], 2 * x * y)
    (xx, xy), (yx, yy) = tg.hessian(f, (0, 1))(x, y)
    np.testing.assert_array_equal(xx, np.diag(2 * y))
    np.testing.assert_array_equal(xy, np.diag(2 * x))
    np.testing.assert_array_equal(yx, np.diag(2 * x))
    np.testing.assert_array_equal(yy, np.zeros((2, 2)))


def test_keyword_arguments_are_passed_on():
    assert tg.grad(lambda x, *, power: x**power)(2.0, power=3) == 12


def test_jacobian_of_a_matrix_function_has_both_shapes():
    X, W = np.arange(6.0).reshape(3, 2), np.arange(1.0, 13.0).reshape(4, 3)
    J = tg.jacobian(lambda X: W @ X)(X)
    assert J.shape == (4, 2, 3, 2)
    np.testing.assert_array_equal(J, np.einsum("ik,jl->ijkl", W, np.eye(2)))


def test_jacobian_of_several_outputs_keeps_their_structure():
    J = tg.jacobian(lambda x: {"double": 2 * x, "pair": (x * x, np.sum(x))})(np.array([1.0, 2.0]))
    np.testing.assert_array_equal(J["double"], 2 * np.eye(2))
    np.testing.assert_array_equal(J["pair"][0], np.diag([2.0, 4.0]))
    np.testing.assert_array_equal(J["pair"][1], [1.0, 1.0])


def test_jacobian_of_no_outputs_is_empty():
    assert tg.jacobian(lambda x: x[:0])(np.ones(3)).shape == (0, 3)


@given(st.integers(1, 4), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_hessian_of_logistic_regression_is_x_diag_a_one_minus_a_xt_over_m(n_x, m, seed):
    X, Y = data(n_x, m, seed)
    w = np.random.default_rng(seed).normal(size=(1, n_x))
    H = tg.hessian(lambda w: tg.binary_cross_entropy_with_logits(w @ X, Y))(w).reshape(n_x, n_x)
    a = tg.sigmoid(w @ X)
    np.testing.assert_allclose(H, X @ np.diag((a * (1 - a))[0]) @ X.T / m, **EXACT)


@given(st.integers(0, 2**32 - 1))
def test_hessian_is_the_slope_of_the_gradient_and_symmetric(seed):
    rng = np.random.default_rng(seed)
    A, x = rng.normal(size=(3, 4)), rng.normal(size=4)
    f = lambda x: np.sum(np.tanh(A @ x) ** 2) + np.prod(x)  # noqa: E731
    H = tg.hessian(f)(x)
    slopes = np.stack([differences(lambda x, i=i: tg.grad(f)(x)[i], [x], 1.0)[0] for i in range(4)])
    np.testing.assert_allclose(H, slopes, **SLOPE)
    np.testing.assert_allclose(H, H.T, **EXACT)


@given(st.integers(0, 2**32 - 1))
def test_hvp_is_the_hessian_times_v(seed):
    rng = np.random.default_rng(seed)
    A, x, v = rng.normal(size=(3, 4)), rng.normal(size=4), rng.normal(size=4)
    f = lambda x: np.sum(np.tanh(A @ x) ** 2)  # noqa: E731
    np.testing.assert_allclose(tg.hvp(f)(x, v), tg.hessian(f)(x) @ v, **EXACT)


def test_hvp_of_a_large_argument_needs_no_hessian():
    x = np.ones(200_000)  # its Hessian would take 320 GB
    np.testing.assert_array_equal(tg.hvp(lambda x: np.sum(x**3))(x, 2 * x), 12 * x)


@pytest.mark.parametrize("name", CASES)
def test_third_derivatives_of_every_op(name):
    """The gradient of a sum of second derivatives, by nesting three deep, is the slope of that sum."""
    f, arrays = CASES[name]
    places = tuple(range(len(arrays)))
    weights = np.random.default_rng(0).normal(size=np.shape(f(*arrays)))

    def first(*xs):
        return np.sum(f(*xs) * weights)

    def slope(*xs):
        return sum(np.sum(np.sin(np.arange(1.0, g.size + 1)).reshape(g.shape) * g) for g in tg.grad(first, places)(*xs))

    def sum_of_second(*xs):
        gradients = tg.grad(slope, places)(*xs)
        return sum(np.sum(np.cos(np.arange(1.0, g.size + 1)).reshape(g.shape) * g) for g in gradients)

    assert not any(row.wrong for row in tg.check.gradcheck(sum_of_second, tuple(arrays)).rows)


def test_hessian_of_formulas():
    x = symbols("x", (2,))
    H = tg.hessian(lambda x: np.sum(x**3))(x)
    assert same(H, [[6 * x[0], 0], [0, 6 * x[1]]])


def test_float32_stays_float32():
    x = np.array([0.5, 2.0], np.float32)
    f = lambda x: np.sum(np.exp(x) * 2)  # noqa: E731
    results = tg.grad(f)(x), tg.jacobian(np.exp)(x), tg.hessian(f)(x), tg.hvp(f)(x, x), tg.value_and_grad(f)(x)[0]
    assert {result.dtype for result in results} == {np.dtype(np.float32)}


# -- modules ----------------------------------------------------------------------------------------------------------


def cost(X, Y):
    return lambda model: tg.binary_cross_entropy_with_logits(model(X), Y)


def test_gradients_of_a_module_are_those_of_backward_and_leave_it_as_it_is():
    X, Y = data()
    model = tg.nn.TwoLayerNetwork(3, 4, rng=0)
    before = model.state_dict()
    gradients = tg.grad(cost(X, Y))(model)
    assert all(p.grad is None for p in model.parameters())
    cost(X, Y)(model).backward()
    assert list(gradients) == ["W1", "b1", "W2", "b2"]
    for name, p in model.named_parameters():
        np.testing.assert_array_equal(gradients[name], p.grad)
        np.testing.assert_array_equal(before[name], p.data)
        assert type(gradients[name]) is np.ndarray


def test_hessian_of_a_module_is_by_pairs_of_names_and_its_product_is_hvp():
    X, Y = data(2, 6)
    model = tg.nn.TwoLayerNetwork(2, 3, rng=0, init=tg.init.xavier)
    H = tg.hessian(cost(X, Y))(model)
    assert {name: list(row) for name, row in H.items()} == {name: ["W1", "b1", "W2", "b2"] for name in H}
    assert H["W1"]["b1"].shape == (3, 2, 3, 1)
    np.testing.assert_allclose(H["W1"]["b1"], np.transpose(H["b1"]["W1"], (2, 3, 0, 1)), **EXACT)
    v = {name: np.random.default_rng(1).normal(size=p.shape) for name, p in model.named_parameters()}
    product = tg.hvp(cost(X, Y))(model, v)
    for name in v:
        by_hand = sum(np.tensordot(H[name][other], v[other], axes=v[other].ndim) for other in v)
        np.testing.assert_allclose(product[name], by_hand, **EXACT)


def test_a_frozen_parameter_is_a_constant():
    X, Y = data()
    model = tg.nn.TwoLayerNetwork(3, 4, rng=0)
    everything = tg.grad(cost(X, Y))(model)
    H = tg.hessian(cost(X, Y))(model)
    model.layers[0].W.requires_grad = False
    J, gradients = tg.value_and_grad(cost(X, Y))(model)
    assert type(J) is np.float64
    assert list(gradients) == ["b1", "W2", "b2"]
    for name, gradient in gradients.items():
        assert type(gradient) is np.ndarray
        np.testing.assert_array_equal(gradient, everything[name])
    smaller = tg.hessian(cost(X, Y))(model)
    v = {name: np.ones_like(gradient) for name, gradient in gradients.items()}
    product = tg.hvp(cost(X, Y))(model, v)
    for name in gradients:
        for other in gradients:
            assert type(smaller[name][other]) is np.ndarray
            np.testing.assert_array_equal(smaller[name][other], H[name][other])
        assert type(product[name]) is np.ndarray
        by_hand = sum(np.tensordot(H[name][other], v[other], axes=v[other].ndim) for other in v)
        np.testing.assert_allclose(product[name], by_hand, **EXACT)
    with pytest.raises(ValueError, match=r"v is a dict with 'W1', .*; expected a dict with 'b1', 'W2', 'b2'"):
        tg.hvp(cost(X, Y))(model, {"W1": np.ones((4, 3)), **v})
    for p in model.parameters():
        p.requires_grad = False
    with pytest.raises(TypeError, match="TwoLayerNetwork has no parameter that requires a gradient"):
        tg.grad(cost(X, Y))(model)


# -- trees: arrays in dicts, lists and tuples -------------------------------------------------------------------------


def course_parameters(n_x=3, n_h=4):
    rng = np.random.default_rng(1)
    W1, W2 = rng.normal(size=(n_h, n_x)), rng.normal(size=(1, n_h))
    return {"W1": W1, "b1": np.zeros((n_h, 1)), "W2": W2, "b2": np.zeros((1, 1))}


def forward(X, parameters):
    A1 = np.tanh(parameters["W1"] @ X + parameters["b1"])
    return tg.sigmoid(parameters["W2"] @ A1 + parameters["b2"])


def test_the_gradients_of_the_courses_dict_are_those_of_the_model():
    (X, Y), parameters = data(), course_parameters()
    model = tg.nn.TwoLayerNetwork(3, 4, rng=0)
    model.load_state_dict(parameters)
    before = {name: x.copy() for name, x in parameters.items()}
    J, gradients = tg.value_and_grad(lambda p: tg.binary_cross_entropy(forward(X, p), Y))(parameters)
    expected = tg.grad(cost(X, Y))(model)
    assert list(gradients) == list(parameters)
    assert type(J) is np.float64
    for name, dx in gradients.items():
        assert type(dx) is np.ndarray
        np.testing.assert_allclose(dx, expected[name], **EXACT)
        np.testing.assert_array_equal(parameters[name], before[name])


def test_the_courses_loop_trains():
    (X, Y), parameters, costs = data(), course_parameters(), []
    for _ in range(50):
        J, grads = tg.value_and_grad(lambda p: tg.binary_cross_entropy(forward(X, p), Y))(parameters)
        parameters = {name: parameters[name] - 0.5 * grads[name] for name in parameters}
        costs.append(J)
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < costs[0]


def test_what_is_assigned_to_the_dict_in_the_function_changes_neither_the_callers_nor_the_gradient():
    def f(p):
        p["w"] = p["w"] * 2
        p["new"] = 1.0
        return np.sum(p["w"] ** 2)

    p = {"w": np.array([1.0, 3.0])}
    np.testing.assert_array_equal(tg.grad(f)(p)["w"], [8.0, 24.0])
    assert list(p) == ["w"]
    np.testing.assert_array_equal(p["w"], [1.0, 3.0])


FLOATS = st.floats(-4, 4, width=32)
LEAVES = st.one_of(st.lists(FLOATS, min_size=1, max_size=3).map(np.array), FLOATS.map(np.asarray))
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.dictionaries(st.one_of(st.text(max_size=3), st.integers()), inner, min_size=1, max_size=3),
        st.dictionaries(st.sampled_from("Wb"), inner, min_size=1, max_size=2).map(OrderedDict),
        st.lists(inner, min_size=1, max_size=3),
        st.lists(inner, min_size=1, max_size=3).map(tuple),
        st.tuples(inner, inner).map(lambda pair: Weights(*pair)),
    ),
    max_leaves=6,
)


def structure(tree):
    if isinstance(tree, dict):
        return type(tree), {key: structure(item) for key, item in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree), [structure(item) for item in tree]
    return np.shape(tree)


def flat(tree):
    if isinstance(tree, (dict, list, tuple)):
        return [x for item in (tree.values() if isinstance(tree, dict) else tree) for x in flat(item)]
    return [tree]


def sum_of_cubes_and_pairs(tree):
    """A cost in which every leaf meets every other one."""
    cubes = sum(np.sum(x**3) for x in flat(tree))
    return cubes + sum(np.sum(x) for x in flat(tree)) ** 2


@given(TREES)
def test_gradients_have_the_structure_of_the_argument_and_are_those_of_several_arguments(tree):
    several = tuple(flat(tree))
    as_many = lambda *xs: sum_of_cubes_and_pairs(list(xs))  # noqa: E731
    chosen = tuple(range(len(several)))
    gradient = tg.grad(sum_of_cubes_and_pairs)(tree)
    assert structure(gradient) == structure(tree)
    for got, expected in zip(flat(gradient), tg.grad(as_many, chosen)(*several), strict=True):
        np.testing.assert_array_equal(got, expected)
    H, hessian = tg.hessian(sum_of_cubes_and_pairs)(tree), tg.hessian(as_many, chosen)(*several)
    for got, expected in zip(flat(H), (x for row in hessian for x in row), strict=True):
        np.testing.assert_array_equal(got, expected)
    v = gradient
    product = tg.hvp(sum_of_cubes_and_pairs)(tree, v)
    assert structure(product) == structure(tree)
    for i, got in enumerate(flat(product)):
        by_hand = sum(np.tensordot(hessian[i][j], w, axes=np.ndim(w)) for j, w in enumerate(flat(v)))
        np.testing.assert_allclose(got, by_hand, rtol=1e-9, atol=1e-9)  # terms of 1e3 cancel: some thousand roundings


def test_a_dict_of_tensors_gives_tensors_that_can_be_differentiated_again():
    w = tg.Tensor([1.0, 2.0], requires_grad=True)
    gradient = tg.grad(lambda p: np.sum(p["w"] ** 3))({"w": w})
    np.sum(gradient["w"]).backward()
    np.testing.assert_array_equal(w.grad, [6.0, 12.0])


def test_jacobians_of_functions_from_dicts_to_dicts():
    x = {"a": np.array([1.0, 2.0]), "b": [np.array(3.0)]}
    J = tg.jacobian(lambda p: {"sum": np.sum(p["a"]) * p["b"][0], "both": [p["a"], p["a"] * 2]})(x)
    np.testing.assert_array_equal(J["sum"]["a"], [3.0, 3.0])
    np.testing.assert_array_equal(J["sum"]["b"][0], 3.0)
    np.testing.assert_array_equal(J["both"][1]["a"], 2 * np.eye(2))
    np.testing.assert_array_equal(J["both"][0]["b"][0], np.zeros(2))


def test_a_list_of_numbers_is_one_array_and_a_list_of_arrays_is_several():
    assert tg.grad(lambda x: np.sum(x**2))([1.0, 2.0]).tolist() == [2.0, 4.0]
    dw, db = tg.grad(lambda p: np.sum(p[0]) * p[1])([np.ones(2), 3.0])
    assert tg.grad(lambda p: p.W * p.b)(Weights(2.0, 3.0)) == Weights(3.0, 2.0)
    assert (dw.tolist(), db) == ([3.0, 3.0], 2.0)
    W, b = tg.nn.LogisticRegression(2).parameters()
    dW, db = tg.grad(lambda p: np.sum(p[0] @ np.ones((2, 1)) + p[1]))([W, b])
    np.testing.assert_array_equal(values(dW), [[1.0, 1.0]])


def test_leaves_are_called_by_their_keys_in_errors():
    with pytest.raises(ValueError, match=r"W1 .*is \(4, 3\)"):
        tg.grad(lambda p: np.sum(p["W1"] @ np.ones((4, 2))))(course_parameters())
    with pytest.raises(ValueError, match=r"layer1.W .*is \(1, 2\)"):
        tg.grad(lambda p: np.sum(p["layer1"]["W"] @ np.ones((4, 2))))({"layer1": {"W": np.ones((1, 2))}})


def test_a_penalty_on_the_parameters_counts():
    model = tg.nn.LogisticRegression(3)
    model.layers[0].W.data = np.ones((1, 3))
    f = lambda model: sum(np.sum(p**2) for p in model.parameters())  # noqa: E731
    np.testing.assert_array_equal(tg.grad(f)(model)["W"], 2 * np.ones((1, 3)))


def test_a_module_that_the_function_ignores_is_an_error():
    X, Y = data()
    model = tg.nn.LogisticRegression(3)
    with pytest.raises(TypeError, match="<lambda> returned a Tensor that does not depend on its argument"):
        tg.grad(lambda copy: cost(X, Y)(model))(model)


def test_dropout_draws_anew_in_each_call_as_in_backward():
    def model():
        return tg.nn.Sequential(tg.nn.Linear(4, 5, rng=0), tg.nn.Dropout(0.5, rng=1), tg.nn.Linear(5, 1, rng=2))

    f = lambda model: np.sum(model(np.ones((4, 6))))  # noqa: E731
    one, other = model(), model()
    for _ in range(2):
        gradients = tg.grad(f)(one)
        f(other).backward()
        for name, p in other.named_parameters():
            np.testing.assert_array_equal(gradients[name], p.grad)
            p.grad = None
    assert not np.array_equal(tg.grad(f)(one)["W2"], tg.grad(f)(one)["W2"])


class Keeper(tg.nn.Module):
    """A module that keeps what it computed, and things that cannot be copied."""

    def __init__(self):
        self.W = tg.nn.Parameter([[2.0]])
        self.h, self.lock, self.seen = 0.0, threading.Lock(), []

    def __call__(self, x):
        with self.lock:
            self.h = self.h * 0.5 + self.W
            self.seen.append(x)
        return self.W * x


def test_a_module_may_keep_a_long_graph_a_lock_and_a_list():
    model = Keeper()
    for _ in range(3000):
        model(1.0)
    h = model.h
    assert tg.grad(lambda model: model(3.0)[0, 0])(model)["W"] == 3
    assert model.h is h  # what the copy sets is lost
    assert model.seen[-1] == 3.0  # what it shares is not


def test_shared_parameters_and_modules_stay_shared_and_keep_their_containers():
    class Tied(tg.nn.Module):
        def __init__(self):
            self.W = tg.nn.Parameter([[2.0]])
            self.twice = tg.nn.Linear(1, 1, init=[[3.0]])
            self.again = {"pair": [self.twice, self.W]}
            self.ordered = OrderedDict(a=(self.twice, 1))
            self.named = namedtuple("Named", "layer count")(self.twice, 2)
            self.chain = tg.nn.Sequential(self.twice, np.tanh, tg.nn.Sequential(self.twice))
            self.method, self.partial = self.scale, partial(self.scale, by=1.0)

        def scale(self, a, by=1.0):
            return self.W * a * by

    def f(model):
        layer = model.twice
        assert layer is not original.twice
        assert model.W is not original.W
        assert all(same is layer for same in (model.again["pair"][0], model.ordered["a"][0], model.named.layer))
        assert [type(model.ordered), type(model.named)] == [OrderedDict, type(original.named)]
        assert model.chain.layers[0] is model.chain._steps[0][0] is layer
        assert model.chain.layers[2].layers[0] is model.chain.layers[2]._steps[0][0] is layer
        assert model.again["pair"][1] is model.W
        return np.sum(model.method(model.chain(np.ones((1, 1)))) + model.partial(1.0))

    original = Tied()
    gradients = tg.grad(f)(original)
    names = {id(p): name for name, p in original.named_parameters()}
    f_of_original = np.sum(original.method(original.chain(np.ones((1, 1)))) + original.partial(1.0))
    f_of_original.backward()
    for p in original.parameters():
        np.testing.assert_array_equal(gradients[names[id(p)]], p.grad)


def test_the_mode_of_a_module_is_left_as_it_is():
    model = tg.nn.Sequential(tg.nn.Linear(1, 1, rng=0), tg.nn.Dropout(0.5, rng=0))

    def f(model):
        model.eval()
        return np.sum(model(np.ones((1, 1))))

    assert tg.grad(f)(model)["b"] == 1
    assert all(module.training for module in model.modules())


# -- levels -----------------------------------------------------------------------------------------------------------


def test_nested_derivatives_are_not_confused():
    """d/dx (x * d/dy (x + y)) is 1: to the inner derivative, x is a constant."""
    assert tg.grad(lambda x: x * tg.grad(lambda y: x + y)(1.0))(1.0) == 1
    assert tg.grad(lambda x: x * tg.grad(lambda y: x * y)(2.0))(3.0) == 6
    # d/dx of d/dy (x y^2) at y = x is d/dx of 2 x x
    assert tg.grad(lambda x: tg.grad(lambda y: x * y * y)(x))(3.0) == 4 * 3
    # three deep: d/dx x^2 d/dy (y^2 d/dz (x y z))
    inner = lambda x, y: tg.grad(lambda z: x * y * z)(1.0)  # noqa: E731
    middle = lambda x: tg.grad(lambda y: y * y * inner(x, y))(2.0)  # noqa: E731  # 3 y^2 x
    assert tg.grad(lambda x: x * x * middle(x))(3.0) == 3 * 2**2 * 3 * 3**2


def test_the_gradient_of_a_linear_function_is_constant_and_its_hessian_zero():
    assert tg.grad(tg.grad(lambda x: 3 * x))(1.0) == 0
    np.testing.assert_array_equal(tg.hessian(lambda x: np.sum(2 * x))(np.ones(2)), np.zeros((2, 2)))
    np.testing.assert_array_equal(tg.hvp(lambda x: np.sum(2 * x))(np.ones(2), np.ones(2)), np.zeros(2))


def test_a_gradient_with_respect_to_data_can_be_a_penalty_on_parameters():
    X, Y = data()
    model = tg.nn.LogisticRegression(3)
    model.layers[0].W.data = np.array([[1.0, -2.0, 0.5]])
    gradient = tg.grad(lambda X: tg.binary_cross_entropy_with_logits(model(X), Y))(X)
    assert isinstance(gradient, tg.Tensor)
    assert all(p.grad is None for p in model.parameters())
    np.sum(gradient**2).backward()

    def penalty(W):
        dX = W.T @ (tg.sigmoid(W @ X) - Y) / Y.shape[1]
        return np.sum(dX**2)

    (expected,) = differences(penalty, [model.layers[0].W.data.copy()], 1.0)
    np.testing.assert_allclose(model.layers[0].W.grad, expected, **SLOPE)


def test_under_no_grad_the_result_is_plain():
    X, Y = data()
    model = tg.nn.LogisticRegression(3)
    with tg.no_grad():
        value, gradient = tg.value_and_grad(lambda X: tg.binary_cross_entropy_with_logits(model(X), Y))(X)
    assert type(gradient) is np.ndarray
    assert not isinstance(value, tg.Tensor)
    J = cost(X, Y)(model)  # recording is on again
    assert J.requires_grad


def test_a_tensor_gives_a_tensor():
    x = tg.Tensor([1.0, 2.0], requires_grad=True)
    gradient = tg.grad(lambda x: np.sum(x**3))(x)
    np.sum(gradient).backward()
    np.testing.assert_array_equal(x.grad, 6 * x.data)
    constant = tg.grad(lambda x: np.sum(2 * x))(x)
    assert isinstance(constant, tg.Tensor)
    assert not constant.requires_grad


def test_a_tensor_that_requires_no_gradient_leaves_the_results_arrays():
    x, X = np.array([1.0, 2.0]), tg.Tensor([3.0, 4.0])
    f = lambda x: np.sum(x * x * X)  # noqa: E731
    value, gradient = tg.value_and_grad(f)(x)
    results = value, gradient, tg.grad(lambda x, y: np.sum(x * y))(x, X), tg.jacobian(lambda x: x * X)(x)
    results += tg.hessian(f)(x), tg.hvp(f)(x, x)
    x = np.array([1.0, 2.0])
    expected = 3 + 16, [6, 16], [3, 4], np.diag([3, 4]), np.diag([6, 8]), [6, 16]
    for result, right in zip(results, expected, strict=True):
        assert isinstance(result, (np.ndarray, np.float64))
        np.testing.assert_array_equal(result, right)
    assert tg.grad(lambda x: tg.grad(lambda y: X[0] * y)(1.0) * x)(2.0) == 3


def test_a_constant_of_another_transform_remains_one_of_it():
    def f(x):
        with tg.no_grad():
            c = 3.0 * x
        return tg.grad(lambda y: c * y)(1.0)

    assert tg.grad(f)(2.0) == 0
    np.testing.assert_array_equal(tg.jacobian(lambda x: tg.value_and_grad(lambda y: f(x) * y)(1.0))(2.0), [0, 0])


def test_a_jacobian_of_which_some_rows_depend_on_a_parameter():
    w = tg.Tensor(3.0, requires_grad=True)
    J = tg.jacobian(lambda x: np.stack([w * x, 2.0 * x]))(1.0)
    assert J.requires_grad
    np.testing.assert_array_equal(J.data, [3, 2])


def test_backward_within_the_function_does_not_count_twice():
    def f(x):
        J = np.sum(x**2)
        J.backward()
        return J

    np.testing.assert_array_equal(tg.grad(f)(np.array([1.0, 2.0])), [2, 4])
    np.testing.assert_array_equal(tg.jacobian(f)(np.array([1.0, 2.0])), [2, 4])


def test_an_exception_in_the_function_leaves_no_trace():
    def f(x):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        tg.grad(f)(1.0)
    assert type(tg.grad(lambda x: x * x)(3.0)) is np.float64


# -- errors -----------------------------------------------------------------------------------------------------------

Weights = namedtuple("Weights", "W b")
W = tg.Tensor([1.0, 2.0], requires_grad=True)
HOLDS_ITSELF = {"W": np.ones(2)}
HOLDS_ITSELF["again"] = HOLDS_ITSELF


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: tg.grad(3.0), TypeError, r"grad: expected a function, got 3.0. Write tg.grad\(f\)\(x\), not"),
        (lambda: tg.grad(lambda x: x * x)(np.ones(2)), ValueError, r"<lambda> returned shape \(2,\), not a single"),
        (lambda: tg.grad(lambda x: x * x)(3), TypeError, "grad: x has dtype int64: only floating-point .* Write 1.0"),
        (lambda: tg.grad(lambda ps: float(np.sum(W.data)))([W]), TypeError, "returned a float that does not depend"),
        (lambda: tg.grad(lambda p: p)([]), ValueError, r"returned shape \(0,\), not a single number"),
        (lambda: tg.grad(lambda p: p)({}), TypeError, "^grad: p is a dict without arrays: there is nothing to dif"),
        (lambda: tg.grad(lambda p: p)({"W": {}}), TypeError, "^grad: p is a dict without arrays"),
        (lambda: tg.grad(lambda x: x * x)("a"), TypeError, "x has dtype <U1, and is not numeric"),
        (lambda: tg.grad(lambda x: x.item() ** 2)(3.0), TypeError, r"returned a float that does not .*float\(\)"),
        (lambda: tg.grad(lambda x: (x, x))(3.0), TypeError, "grad: <lambda> returned a tuple, not a Tensor. Return"),
        (lambda: tg.grad(lambda x: [x])(3.0), TypeError, "returned a list, .*; tg.jacobian takes a tuple, a list or"),
        (lambda: tg.grad(lambda p: p)({"W": np.ones(2), "n": 3}), TypeError,
         r"^grad: p\['n'\] has dtype int64: only floating-point"),
        (lambda: tg.grad(lambda p: p)({"W": np.ones(2), "name": "net"}), TypeError,
         r"^grad: p\['name'\] has dtype <U3"),
        (lambda: tg.grad(lambda p: p)({"W": np.ones(2), "b": None}), TypeError, r"^grad: p\['b'\] "),
        (lambda: tg.jacobian(lambda p: p)([tg.nn.Tanh()]), TypeError,
         r"^jacobian: p\[0\] is a Tanh. A module is an argument of its own, .* pass it as f\(model, ...\)"),
        (lambda: tg.grad(lambda p: p)([[1.0], [1.0, 2.0]]), TypeError,
         r"^grad: p is a list of lists of different lengths, .* Write np.array\(...\) around each row, or pass a dict"),
        (lambda: tg.grad(lambda p: p)(MappingProxyType({"W": 1.0})), TypeError,
         r"^grad: p is a mappingproxy of 1 entries, .* Write dict\(...\) around it, or pass a dict"),
        (lambda: tg.grad(lambda p: p)(HOLDS_ITSELF), ValueError, "^grad: a dict holds itself: "),
        (lambda: tg.grad(lambda p: p["W"])({"W": np.ones(2)}), ValueError,
         r"<lambda> returned shape \(2,\), not a single"),
        (lambda: tg.grad(lambda p: p)({"W": np.ones(2)}), TypeError,
         "<lambda> returned a dict, not a Tensor. Return the"),
        (lambda: tg.hvp(lambda p: np.sum(p["W"]))({"W": np.ones(2)}, {"W": np.ones(3)}), ValueError,
         r"^hvp: v\['W'\] is \(3,\); expected \(2,\), as <lambda>'s argument"),
        (lambda: tg.hvp(lambda p: np.sum(p["W"]))({"W": np.ones(2)}, {"b": np.ones(2)}), ValueError,
         r"^hvp: v is a dict with 'b'; expected a dict with 'W', as"),
        (lambda: tg.hvp(lambda p: np.sum(p[0]))([np.ones(2)], np.ones(2)), ValueError,
         r"v is array.*expected a list of 1"),
        (lambda: tg.grad(lambda p: p)(SimpleNamespace(W=np.ones(2))), TypeError, "p is a SimpleNamespace of your own"),
        (lambda: tg.grad(lambda x: print(end=""))(3.0), TypeError, "returned None, that .* forget to return"),
        (lambda: tg.grad(lambda x: x.data * 2)(3.0), TypeError, r"<lambda> returned a \w+ that does not depend"),
        (lambda: tg.grad(lambda x: x, 1)(3.0), TypeError, r"called with 1 argument by position; there is no number 1"),
        (lambda: tg.grad(lambda x: x)(x=3.0), TypeError, "called with 0 arguments by position; there is no number 0"),
        (lambda: tg.hvp(lambda x: np.sum(x))(np.ones(2), np.ones(3)), ValueError, r"v is \(3,\); expected \(2,\)"),
        (lambda: tg.jacobian(lambda x: np.ones(2))(1.0), TypeError, "jacobian: <lambda> returned a ndarray that does"),
        (lambda: tg.hessian(lambda x: x**3)(np.ones(2)), ValueError,
         r"^hessian: <lambda> returned shape \(2,\), not a single number. Reduce it to a cost first \(.*loss\)\.$"),
        (lambda: tg.hvp(lambda x: x**3)(np.ones(2), np.ones(2)), ValueError, r"^hvp: <lambda> returned shape \(2,\)"),
        (lambda: tg.hessian(lambda x: np.sum(x))(3), TypeError, "^hessian: x has dtype int64"),
        (lambda: tg.hessian(3.0), TypeError, r"^hessian: expected a function, got 3.0. Write tg.hessian\(f\)\(x\)"),
        (lambda: tg.hessian(lambda x: 2.0)(1.0), TypeError, "^hessian: <lambda> returned a float that does not depend"),
    ],
)  # fmt: skip
def test_errors_name_the_function_and_the_likely_mistake(call, error, text):
    with pytest.raises(error, match=text):
        call()
