"""Ops, losses and gradients of arrays on a device: arrays of the same kind, equal to NumPy's, nothing converted."""

import copy
from functools import partial

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.support.device_array import DeviceArray
from tests.support.op_cases import CASES
from tinygrad_dls.engine.devices import beside, like, on_device, to_host

ROWS = np.array([[0.2, 0.9, 0.4], [0.7, 0.1, 0.5]])
LABELS = np.array([[1.0, 0.0, 1.0]])
LOSSES = {  # the loss, its first argument, and its constants
    "binary_cross_entropy": (tg.binary_cross_entropy, ROWS[:1], [LABELS]),
    "binary_cross_entropy_with_logits": (tg.binary_cross_entropy_with_logits, ROWS[:1], [LABELS]),
    "mean_squared_error": (tg.mean_squared_error, ROWS, [ROWS[::-1].copy()]),
    "softmax_cross_entropy": (tg.softmax_cross_entropy, ROWS, [np.array([[1.0, 0, 0], [0, 1, 1]])]),
    "softmax_cross_entropy of classes": (tg.softmax_cross_entropy, ROWS, [np.array([[0, 1, 1]])]),
}
INFINITE = np.array([[np.inf, -np.inf, 2.0], [0.0, 1.0, np.inf]])

# Functions of NumPy that are no case of an op: the function of Tensors, and what it takes.
FUNCTIONS = {
    **{
        name: (getattr(np, name), [np.array([[0.3, -0.2, 0.5], [0.1, 0.6, -0.4]])])
        for name in (
            "tan", "arcsin", "arccos", "arctan", "sinh", "cosh", "arcsinh", "arctanh", "exp2", "reciprocal", "sign",
            "floor", "ceil", "trunc", "rint", "round", "positive", "ravel", "flip", "fliplr", "flipud", "sort", "ptp",
            "median", "diff", "tril", "triu", "diagonal", "trace", "cumprod", "nan_to_num", "degrees", "radians",
            "average",
        )
    },
    "log2": (np.log2, [np.array([0.5, 3.0])]),
    "log10": (np.log10, [np.array([0.5, 3.0])]),
    "arccosh": (np.arccosh, [np.array([1.5, 3.0])]),
    "arctan2": (np.arctan2, [np.array([0.5, 0.0]), np.array([-1.0, 0.0])]),
    "hypot": (np.hypot, [np.array([3.0, 0.0]), np.array([4.0, 0.0])]),
    "logaddexp": (np.logaddexp, [np.array([3.0, -1.0]), np.array([3.0, 4.0])]),
    "diag of a vector": (lambda x: np.diag(x, 1), [np.array([1.0, 2.0])]),
    "roll": (lambda x: np.roll(x, 1, axis=1), [ROWS]),
    "tile": (lambda x: np.tile(x, (2, 1)), [ROWS]),
    "repeat": (lambda x: np.repeat(x, 2, axis=0), [ROWS]),
    "repeat unevenly": (lambda x: np.repeat(x, np.array([1, 2]), axis=0), [ROWS]),
    "pad": (lambda x: np.pad(x, 1, constant_values=2.0), [ROWS]),
    "pad by reflection": (lambda x: np.pad(x, ((0, 0), (1, 1)), mode="reflect"), [ROWS]),
    "take": (lambda x: np.take(x, np.array([0, 2, 0]), axis=1), [ROWS]),
    "vstack": (lambda x, y: np.vstack([x, y]), [ROWS, ROWS[:1]]),
    "outer": (np.outer, [np.array([1.0, 2.0]), np.array([3.0, 4.0, 5.0])]),
    "tensordot": (lambda x, y: np.tensordot(x, y, 1), [ROWS, ROWS.T.copy()]),
    "kron": (np.kron, [ROWS, np.array([[1.0, 2.0]])]),
    "einsum": (lambda x, y: np.einsum("ij,kj->ik", x, y), [ROWS, ROWS + 1]),
    "einsum of one alone": (lambda x, y: np.einsum("ij,k->k", x, y), [ROWS, np.array([1.0, 2.0])]),
    "norm": (np.linalg.norm, [ROWS]),
    "norm along 0": (lambda x: np.linalg.norm(x, axis=0), [ROWS]),
    "norm of 1": (lambda x: np.linalg.norm(x, 1, axis=0), [ROWS]),
    "solve": (np.linalg.solve, [np.array([[3.0, 1.0], [1.0, 2.0]]), np.array([[1.0], [2.0]])]),
    "inv": (np.linalg.inv, [np.array([[3.0, 1.0], [1.0, 2.0]])]),
    "det": (np.linalg.det, [np.array([[3.0, 1.0], [1.0, 2.0]])]),
    "slogdet": (lambda a: np.linalg.slogdet(a).logabsdet, [np.array([[3.0, 1.0], [1.0, 2.0]])]),
    "cholesky": (np.linalg.cholesky, [np.array([[3.0, 1.0], [1.0, 2.0]])]),
    "std of tiny numbers": (np.std, [ROWS * 1e-200]),
    "std of huge numbers": (lambda x: np.std(x, axis=1), [ROWS * 1e200]),
    "times a number of NumPy": (lambda x: np.float64(2) * x * np.float64(3) - np.float64(1) / x, [ROWS]),
    "to the power of a number of NumPy": (lambda x: x ** np.float64(2), [ROWS]),
}  # fmt: skip
SINGLE = {name: case for name, case in CASES.items() if name != "where"} | FUNCTIONS  # whose condition is NumPy's


def of_numpy(x):
    return np.array(x)


def gradients(make, f, arrays, end):
    leaves = [tg.Tensor(make(x), requires_grad=True) for x in arrays]
    with np.errstate(all="ignore"):  # powers of negative numbers
        z = end(f(*leaves))
        z.backward(None if z.size == 1 else np.full(z.shape, 2.0))
    return z._value, [x.grad for x in leaves]


@pytest.mark.parametrize("end", [lambda z: z, lambda z: np.sum(z * z)], ids=["itself", "sum"])
@pytest.mark.parametrize("name", SINGLE)
def test_every_op_gives_what_numpy_gives_and_arrays_on_the_device(device, name, end):
    f, arrays = SINGLE[name]
    (z, found), (expected_z, expected) = (gradients(make, f, arrays, end) for make in (device.array, of_numpy))
    device.is_close(z, expected_z)
    for dx, expected_dx in zip(found, expected, strict=True):
        device.is_close(dx, expected_dx)


@pytest.mark.parametrize("name", SINGLE)
def test_second_derivatives_are_arrays_on_the_device(device, name):
    f, arrays = SINGLE[name]

    def slope(*xs):
        return np.sum(tg.grad(lambda *ys: np.sum(f(*ys) ** 2))(*xs) ** 2)

    with np.errstate(all="ignore"):
        try:
            expected = tg.grad(slope)(*arrays)
        except (TypeError, np.linalg.LinAlgError) as error:  # what has no second derivative here has none there
            with pytest.raises(type(error)):
                tg.grad(slope)(*map(device.array, arrays))
        else:
            device.is_close(tg.grad(slope)(*map(device.array, arrays)), expected)


def test_conditions_lie_on_the_device_too(device):
    condition, x, y = np.array([[True, False, True]]), ROWS, np.array([3.0, 4.0, 5.0])
    x, y = (tg.Tensor(device.array(a), requires_grad=True) for a in (x, y))
    z = np.where(device.array(condition), x, y)
    z.backward(np.full((2, 3), 2.0))
    device.is_close(z.data, np.where(condition, ROWS, [3.0, 4.0, 5.0]))
    device.is_close(x.grad, np.array([[2.0, 0, 2], [2, 0, 2]]))
    device.is_close(y.grad, np.array([0.0, 4, 0]))


@pytest.mark.parametrize(
    "index",
    [np.array([0, 2, 0, 0]), np.array([[True, False], [False, True], [True, True]]), np.array([True, False, True])],
    ids=["repeats", "mask", "rows"],
)
def test_indices_may_lie_on_the_device(device, index):
    w = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    x, t = (tg.Tensor(a, requires_grad=True) for a in (device.array(w), w))
    np.sum(x[device.array(index)] ** 2).backward()
    np.sum(t[index] ** 2).backward()
    device.is_close(x.grad, t.grad)


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_gives_what_numpy_gives(device, name, weighted):
    loss, first, rest = LOSSES[name]

    def found(make):
        z = tg.Tensor(make(first), requires_grad=True)
        options = {"sample_weight": make(np.array([[1.0, 0.0, 2.5]]))} if weighted else {}
        J = loss(z, *map(make, rest), **options)
        J.backward()
        return J, z.grad

    (J, dz), (expected, expected_dz) = found(device.array), found(of_numpy)
    assert J.item() == pytest.approx(expected.item(), rel=device.rtol)
    device.is_close(J.data, expected.data)
    device.is_close(dz, expected_dz)


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize(
    ("loss", "Z", "Y"),
    [
        (tg.binary_cross_entropy_with_logits, INFINITE[:1], np.array([[1.0, 0.0, 1.0]])),
        (tg.softmax_cross_entropy, INFINITE, np.array([[0, 1, 1]])),
    ],
)
def test_infinite_logits_have_the_same_limits_on_the_device(device, loss, Z, Y, weighted):
    def found(make):
        z = tg.Tensor(make(Z), requires_grad=True)
        with np.errstate(all="ignore"):
            J = loss(z, make(Y), **({"sample_weight": make(np.ones((1, 3)))} if weighted else {}))
            J.backward()
        return J.data, z.grad

    for x, expected in zip(found(device.array), found(of_numpy), strict=True):
        device.is_close(x, expected)


def test_wrong_labels_are_refused_in_the_same_words(device):
    for loss, Z, Y in (
        (tg.binary_cross_entropy_with_logits, ROWS[:1], np.array([[1.0, 2.0, 1.0]])),
        (tg.binary_cross_entropy, ROWS[:1] * 3, LABELS),
        (tg.softmax_cross_entropy, ROWS, np.array([[0, 5, 1]])),
        (tg.softmax_cross_entropy, ROWS, ROWS),
        (tg.mean_squared_error, ROWS[:1], np.array([[np.nan, 0.0, 1.0]])),
    ):
        said = []
        for make in (device.array, of_numpy):
            with pytest.raises(ValueError) as error:
                loss(make(Z), make(Y))
            said.append(str(error.value))
        assert said[0] == said[1]


def test_transforms_give_arrays_on_the_device(device):
    A, x = np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([1.0, -2.0])
    a = device.array(A)

    def cost(x, a=a):
        return x @ a @ x + np.sum(np.sin(x))

    def expected(x):
        return cost(x, A)

    at = device.array(x)
    device.is_close(tg.grad(cost)(at), tg.grad(expected)(x))
    for found, right in zip(tg.value_and_grad(cost)(at), tg.value_and_grad(expected)(x), strict=True):
        device.is_close(found, right)
    device.is_close(tg.jacobian(lambda x: a @ np.tanh(x))(at), tg.jacobian(lambda x: A @ np.tanh(x))(x))
    device.is_close(tg.hessian(cost)(at), tg.hessian(expected)(x))
    device.is_close(tg.hvp(cost)(at, device.array(np.ones(2))), tg.hvp(expected)(x, np.ones(2)))
    device.is_close(tg.jacobian(lambda x: a[:0] @ x)(at), np.zeros((0, 2)))


def test_trees_hold_arrays_on_the_device(device):
    x, y = device.array(ROWS), device.array(np.array([1.0, 2.0]))
    found = tg.grad(lambda p: np.sum(p[0] ** 2) + np.sum(p[1]))([x, y])
    device.is_close(found[0], 2 * ROWS)
    device.is_close(found[1], np.ones(2))
    found = tg.grad(lambda p: np.sum(p["W"] ** 2))({"W": x, "b": y})
    device.is_close(found["b"], np.zeros(2))


def test_constants_without_a_gradient_give_zeros_on_the_device(device):
    x, y = device.array(ROWS), device.array(ROWS)
    device.is_close(tg.grad(lambda p: np.sum(p[0]))((x, y))[1], np.zeros((2, 3)))


@pytest.mark.parametrize("seed", [3.0, np.float32(3), np.array(3.0), [3.0]], ids=["number", "float32", "array", "list"])
def test_a_seed_of_the_host_is_taken_to_the_device(device, seed):
    x = tg.Tensor(device.array(np.array([2.0])), requires_grad=True)
    z = x * x if isinstance(seed, list) else np.sum(x * x)
    z.backward(seed)
    device.is_close(x.grad, np.array([12.0]))


def test_a_tensor_of_the_device_shows_its_numbers_and_gives_them_by_name(device):
    x = tg.Tensor(device.array(np.array([[1.0, 2.0]])), name="x")
    assert repr(x) == "Tensor([[1., 2.]], shape=(1, 2), dtype=float64, name='x')"
    s = np.sum(x)
    assert (s.item(), float(s), int(s), f"{s:.2f}", round(s)) == (3.0, 3.0, 3, "3.00", 3)
    assert bytes(x) == np.array([[1.0, 2.0]]).tobytes()
    assert range(5)[tg.Tensor(device.array(np.array(2)))] == 2
    assert 2.0 in x
    assert 3.0 not in x
    assert bool(x[0, 0] > 0)


@pytest.mark.parametrize("n", [2, 200])
def test_a_tensor_of_the_device_shows_its_numbers_in_a_notebook_and_where_they_lie(device, n):
    shown = [tg.Tensor(make(np.ones((1, n)) / 4), name="x")._repr_html_() for make in (device.array, of_numpy)]
    assert "0.25, 0.25" in shown[0]
    assert device.kind.__name__ in shown[0]
    assert device.kind.__name__ not in shown[1]


def test_a_tensor_of_the_device_is_no_plain_array_by_itself(device):
    with pytest.raises(TypeError, match="not allowed"):
        np.asarray(tg.Tensor(device.array(ROWS)))


def test_comparisons_take_numbers_of_numpy(device):
    x = tg.Tensor(device.array(ROWS))
    for number in (0.5, np.float64(0.5), np.float32(0.5)):
        device.is_close(x > number, np.greater(ROWS, number))
    for compared in (lambda: x > ROWS, lambda: x == np.array(1.0)):
        with pytest.raises(TypeError, match=r"lies on a device .* and argument 2 is NumPy's"):
            compared()


def test_seldom_keywords_of_reductions(device):
    x, chosen = device.array(ROWS), ROWS > 0.45
    t = tg.Tensor(x)
    device.is_close(np.sum(t, where=x > 0.45).data, np.sum(ROWS, where=chosen))
    device.is_close(np.mean(t, where=x > 0.45).data, np.mean(ROWS, where=chosen))
    device.is_close(np.max(t, axis=0, initial=0.5).data, np.max(ROWS, axis=0, initial=0.5))
    device.is_close(np.clip(t, device.array(ROWS[:1]), np.float64(0.6)).data, np.clip(ROWS, ROWS[:1], 0.6))


def test_copies_of_tensors_stay_on_the_device(device):
    x = tg.Tensor(device.array(ROWS), requires_grad=True)
    J = copy.deepcopy(np.sum(x * x))
    J.backward()
    device.is_close(J.inputs[0].inputs[0].grad, 2 * ROWS)


@pytest.mark.parametrize("f", [np.add, np.matmul, np.multiply, np.maximum])
def test_arrays_of_the_host_and_of_the_device_do_not_mix(device, f):
    x = tg.Tensor(device.array(np.eye(2)), requires_grad=True, name="W1")
    with pytest.raises(TypeError) as error:
        f(x, np.eye(2))
    assert str(error.value).startswith(
        f"{f.__name__}: W1 is (2, 2), argument 2 is (2, 2); W1 lies on a device "
        f"({device.kind.__module__.partition('.')[0]} {device.kind.__name__}), and argument 2 is NumPy's. Move one of "
        "them by name: "
    )


def test_the_helpers_leave_numpys_arrays_as_they_are(device):
    x = np.ones(2)
    assert like(x, np.zeros(3)) is x
    assert to_host(x) is x
    assert not on_device(x)
    assert on_device(device.array(x))
    device.is_close(like(x, device.array(np.zeros(3))), x)
    np.testing.assert_array_equal(to_host(device.array(x)), x)
    there = device.array(np.zeros(3))
    assert beside(x, np.zeros(3)) is x
    assert beside(there, device.array(x)) is there
    device.is_close(beside(x, there), x)
    np.testing.assert_array_equal(beside(there, x), np.zeros(3))


def test_an_array_of_numpys_kind_that_has_a_get_is_of_the_host():
    class Keyed(np.ndarray):
        def get(self, key):
            raise NotImplementedError

    x = np.ones(2).view(Keyed)
    assert not on_device(x)
    assert to_host(x).sum() == np.sum(tg.Tensor(x)).item() == 2.0


def test_a_step_waits_for_the_device_only_to_see_whether_the_cost_is_a_number():
    x, y = (DeviceArray(a.copy()) for a in (ROWS, LABELS))
    model = tg.nn.TwoLayerNetwork(2, 3, rng=0)
    model.to(lambda a: DeviceArray(a.copy()))
    optimizer = tg.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    step = partial(tg.optim.eager_step, model, tg.binary_cross_entropy_with_logits, optimizer, x, y)
    step()  # looks at the labels
    before = DeviceArray.waits
    step()
    assert DeviceArray.waits - before == 2  # whether it is NaN, and the number that the step returns
