"""A Tensor: NumPy's protocols, what it is made of, and the errors at the edges."""

import copy
import itertools
import pickle
import re
import sys

import dask.array as da
import numpy as np
import pytest

import tinygrad_dls as tg
from tests.engine.leaves import leaf
from tinygrad_dls import symbolic
from tinygrad_dls.engine.arrays import unbroadcast

# -- NumPy's protocols ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "f",
    [
        lambda t, a: a @ t, lambda t, a: t @ a, lambda t, a: a + t, lambda t, a: a - t, lambda t, a: a * t,
        lambda t, a: a / t, lambda t, a: a**t, lambda t, a: t**2, lambda t, a: 2.0 * t, lambda t, a: 2 / t,
        lambda t, a: 2 - t, lambda t, a: 2**t, lambda t, a: -t, lambda t, a: +t, lambda t, a: abs(t),
        lambda t, a: np.float64(2) * t, lambda t, a: np.tanh(t), lambda t, a: np.mean(t, axis=1, keepdims=True),
        lambda t, a: t.mean(axis=1, keepdims=True), lambda t, a: np.dot(a, t), lambda t, a: np.maximum(t, a),
        lambda t, a: np.maximum(0, t), lambda t, a: np.where(a > 0.5, t, a), lambda t, a: np.concatenate([a, t]),
        lambda t, a: np.stack([a, t], axis=-1), lambda t, a: np.sum(t, 0), lambda t, a: np.amax(t, axis=0),
        lambda t, a: t.T, lambda t, a: np.transpose(t), lambda t, a: t.transpose(1, 0),
        lambda t, a: t.transpose((1, 0)),
        lambda t, a: t.reshape(9), lambda t, a: t.reshape(1, -1), lambda t, a: t.reshape((9, 1)),
        lambda t, a: np.reshape(t, (1, 9)), lambda t, a: np.clip(t, 0.2, 0.8), lambda t, a: t.clip(0.2, 0.8),
        lambda t, a: t[1:], lambda t, a: np.squeeze(t[:1]), lambda t, a: np.var(t, ddof=1),
        lambda t, a: t.astype(float),
        lambda t, a: np.broadcast_to(t, (2, 3, 3)), lambda t, a: np.cumsum(t, axis=0), lambda t, a: t.sum(),
    ],
)  # fmt: skip
def test_numpys_functions_and_operators_keep_the_graph(f):
    a = np.random.default_rng(0).uniform(0.1, 1, (3, 3))
    t = leaf(a)
    z = f(t, a)
    assert isinstance(z, tg.Tensor)
    assert z.requires_grad
    np.testing.assert_array_equal(z.data, f(a, a))


def test_augmented_assignment_rebinds_and_leaves_the_old_tensor():
    t = old = leaf(np.ones(2)) * 1
    t += 1
    assert t is not old
    np.testing.assert_array_equal(old.data, [1, 1])


def test_comparisons_and_predicates_give_plain_booleans():
    t = leaf(np.array([1.0, np.nan, 3.0]))
    np.testing.assert_array_equal(t > 2, [False, False, True])
    np.testing.assert_array_equal(np.array([5.0, 5, 5]) > t, [True, False, True])
    np.testing.assert_array_equal(t == 1, [True, False, False])
    np.testing.assert_array_equal(np.isnan(t), [False, True, False])
    assert np.shape(t) == (3,)
    assert np.allclose(leaf([1.0]), 1.0)
    assert np.argmax(leaf([1.0, 3.0, 2.0])) == 1


@pytest.mark.parametrize(
    ("f", "name"),
    [
        (lambda t: np.cbrt(t), "np.cbrt"),
        (lambda t: np.spacing(t), "np.spacing"),
        (lambda t: t // 2, "np.floor_divide"),
        (lambda t: 2 % t, "np.remainder"),
        (lambda t: np.full_like(t, t), "np.full_like"),
        (lambda t: np.linalg.svd(t), "np.linalg.svd"),
        (lambda t: np.fft.fft(t), "np.fft.fft"),
        (lambda t: np.percentile(t, 5), "np.percentile"),
        (lambda t: np.add.reduce(t), "np.add.reduce"),
        (lambda t: np.multiply.outer(t, t), "np.multiply.outer"),
    ],
)
def test_a_numpy_function_without_gradient_is_refused_by_name(f, name):
    with pytest.raises(TypeError, match=f"tinygrad_dls does not differentiate {re.escape(name)}\\."):
        f(leaf(np.eye(2)))


def test_what_numpy_offers_beyond_the_mathematics_is_refused():
    t, a = leaf(np.ones(2)), np.ones(2)
    with pytest.raises(TypeError, match=r"np\.add: cannot write a Tensor into an array.*array = array \+ tensor"):
        a += t
    with pytest.raises(TypeError, match=r"np\.tanh: the keyword where is not supported"):
        np.tanh(t, where=[True, False])
    with pytest.raises(TypeError, match=r"np\.sum: the keyword out is not supported"):
        np.sum(t, out=np.zeros(()))
    with pytest.raises(TypeError, match="more than two axes"):
        np.dot(leaf(np.ones((2, 2, 2))), np.ones((2, 2)))
    with pytest.raises(TypeError, match=r"cannot be changed in place.*np\.where"):
        t[0] = 3


def test_a_plain_array_is_never_made_silently_of_a_graph():
    with pytest.raises(TypeError, match=r"w requires a gradient.*\.data"):
        np.asarray(leaf([1.0], name="w"))
    np.testing.assert_array_equal(np.asarray(tg.Tensor([1, 2])), [1, 2])


# -- what a Tensor is made of -----------------------------------------------------------------------------------------


def test_data_is_kept_not_copied_and_lists_become_arrays():
    a = np.ones(3)
    assert tg.Tensor(a).data is a
    assert tg.Tensor([[1, 2]]).shape == (1, 2)
    assert tg.Tensor(1.5).shape == ()


@pytest.mark.parametrize(
    ("data", "error", "text"),
    [
        ([[1, 2], [3]], ValueError, "w is not a rectangular array of numbers"),
        ("abc", TypeError, "w has dtype <U3, and is not numeric"),
        ([None], TypeError, "w has dtype object, and is not numeric"),
        (np.ma.array([1.0], mask=[True]), TypeError, r"w is a MaskedArray.*filled"),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), TypeError, "not numeric"),
        (1, TypeError, "w has dtype int64: only floating-point Tensors can require a gradient. Write 1.0 instead of 1"),
        (True, TypeError, "dtype bool"),
        (1j, TypeError, "dtype complex128"),
    ],
)
def test_what_cannot_be_differentiated_is_refused(data, error, text):
    with pytest.raises(error, match=text):
        tg.Tensor(data, requires_grad=True, name="w")


def test_replacing_data_and_grad_checks_shape_and_dtype():
    w = leaf(np.ones((1, 2)), name="W1")
    with pytest.raises(ValueError, match=re.escape("W1 has shape (1, 2); its data cannot become (2, 1).")):
        w.data = np.ones((2, 1))
    with pytest.raises(TypeError, match=r"W1 is float64; its data cannot become float32.*astype\('float64'\)"):
        w.data = np.ones((1, 2), np.float32)
    with pytest.raises(ValueError, match=re.escape("W1 is (1, 2) float64; its grad cannot be (2,) float64.")):
        w.grad = np.ones(2)
    with pytest.raises(ValueError, match=re.escape("W1 is (1, 2) float64; its grad cannot be (1, 2) float32.")):
        w.grad = np.ones((1, 2), np.float32)
    w.data, w.grad = [[3.0, 4.0]], [[1.0, 1.0]]
    np.testing.assert_array_equal(w.data, [[3, 4]])
    for kind, gradient in (("Tensor", leaf(np.ones((1, 2)))), ("dask Array", da.ones((1, 2)))):
        with pytest.raises(TypeError, match=f"W1 holds an array of NumPy's; its grad cannot be a {kind}, which a step"):
            w.grad = gradient
    np.testing.assert_array_equal(w.grad, [[1.0, 1.0]])
    z = w * 2
    with pytest.raises(RuntimeError, match=r"computed by multiply; use \.detach\(\)"):
        z.requires_grad = False


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: tg.Tensor(1.0, name="J").backward(),
         r"no path leads from J to a Tensor with requires_grad=True\..*is no parameter involved\?$"),
        (lambda: (leaf(1.0) * 2).detach().backward(), r"\.detach\(\)"),
        (lambda: leaf([1.0, 2.0], name="Z").backward(), r"Z has shape \(2,\), not a single entry.*np\.mean"),
        (lambda: np.sum(tg.Tensor(tg.Tensor([1.0])) * leaf(2.0)).backward(), "Tensors inside are constants"),
        (lambda: leaf([1.0, 2.0]).backward([1.0]), r"the seed is \(1,\); this Tensor is \(2,\)"),
    ],
)  # fmt: skip
def test_backward_without_a_path_or_a_cost_says_what_to_do(make, text):
    with pytest.raises((RuntimeError, ValueError), match=text):
        make()


@pytest.mark.parametrize(
    ("f", "error", "text"),
    [
        (lambda: leaf(np.ones((4, 2)), name="W1") @ np.ones((400, 2)), ValueError,
         "matmul: W1 is (4, 2), argument 2 is (400, 2); expected argument 2 to be (2, m). "
         "Did you pass argument 2 transposed?"),
        (lambda: leaf(np.ones((4, 2)), name="W1") @ tg.Tensor(np.ones((3, 9)), name="X"), ValueError,
         "matmul: W1 is (4, 2), X is (3, 9); expected X to be (2, m)."),
        (lambda: leaf(np.ones((4, 2)), name="W1") + np.ones((3, 2)), ValueError,
         "add: W1 is (4, 2), argument 2 is (3, 2); operands could not be broadcast together"),
        (lambda: leaf(np.ones((4, 2)), name="W1") + "a", TypeError, "add: W1 is (4, 2), argument 2 is 'a'; "),
        (lambda: tg.sum(leaf(np.ones((4, 2)), name="Z"), axis=2), ValueError, "sum: Z is (4, 2); axis 2 is out of"),
        (lambda: leaf(np.ones(2), name="Z")[5], IndexError, "getitem: Z is (2,); index 5 is out of bounds"),
        (lambda: leaf(np.ones((9, 2)), name="E")[np.array([3.0, 1.0])], IndexError,
         "getitem: E is (9, 2); arrays used as indices must be of integer (or boolean) type. Write index.astype(int): "
         "fit gives a model its X in the dtype of the parameters."),
        (lambda: tg.reshape(leaf(np.ones(2), name="Z"), (3,)), ValueError, "reshape: Z is (2,)"),
        (lambda: leaf(np.ones(2), name="Z").reshape(3), ValueError, "reshape: Z is (2,), argument 2 is 3; cannot"),
        (lambda: leaf(np.ones(2), name="Z").item(), ValueError,
         "item: Z has shape (2,), not a single entry. Reduce it to a cost first (np.mean, np.sum, a loss), or take "
         ".data for the array."),
        (lambda: tg.op(3), TypeError, "op takes NumPy's functions, such as @tg.op(np.tanh); got 3."),
    ],
)  # fmt: skip
def test_errors_name_the_op_the_roles_and_the_shapes(f, error, text):
    with pytest.raises(error, match=re.escape(text)):
        f()


def test_every_method_of_a_tensor_says_what_it_does():
    methods = {name: getattr(tg.Tensor, name) for name in dir(tg.Tensor) if not name.startswith("_")}
    assert [name for name, method in methods.items() if callable(method) and not method.__doc__] == []
    assert tg.Tensor.ravel.__doc__ == "``np.ravel`` of this Tensor, with the same arguments."


def test_errors_are_explained_once_through_the_levels():
    with pytest.raises(ValueError, match=r"^add: argument 1 is \(2,\), argument 2 is \(3,\); operands"):
        leaf(leaf(np.ones(2))) + np.ones(3)


def test_a_wrong_rule_is_named():
    @tg.op()
    def bad_shape(x):
        return x.sum(), (lambda dz: np.ones(7),)

    @tg.op()
    def no_tuple(x):
        return x, lambda dz: dz

    @tg.op()
    def one_gradient(x, y):
        return x * y, (lambda dz: dz * y,)

    x = leaf(np.ones(3))
    with pytest.raises(
        ValueError, match=r"rule of bad_shape gave a gradient of shape \(7,\) for an input of shape \(3"
    ):
        bad_shape(x).backward()
    with pytest.raises(TypeError, match=r"rule of no_tuple must return \(value, \(vjp, \.\.\.\)\)"):
        no_tuple(x)
    with pytest.raises(TypeError, match="one_gradient is not differentiable in its argument 2"):
        one_gradient(x, x)
    one_gradient(x, np.ones(3))
    with pytest.raises(TypeError, match="multiply: y= is a Tensor; pass Tensors by position"):
        tg.multiply(tg.Tensor([3.0]), y=x)


def test_op_takes_any_function_of_numpys_and_any_ufunc():
    @tg.op(np.isscalar, np.frompyfunc(abs, 1, 1))
    def same(x):
        return x, (lambda dz: dz,)

    for function in list(tg.engine.tensor.implementations):
        if tg.engine.tensor.implementations[function] is same:
            del tg.engine.tensor.implementations[function]


def test_op_without_parentheses_is_refused():
    def cube(x):
        return x**3, (lambda dz: dz * 3 * x**2,)

    with pytest.raises(
        TypeError, match=r"^op: it takes NumPy's functions, not cube. Write @tg.op\(\), with parentheses"
    ):
        tg.op(cube)


def test_what_a_rule_returns_as_gradient():
    @tg.op()
    def forgot(x):
        return x, (lambda dz: None,)

    @tg.op()
    def number(x):
        return 2 * x, (lambda dz: 2.0,)

    x = leaf(1.0)
    number(x).backward()
    assert x.grad == 2
    with pytest.raises(TypeError, match="backward: the gradient from forgot's rule has dtype object"):
        forgot(x).backward()
    assert x.grad == 2


def test_unbroadcast_refuses_what_was_never_broadcast():
    with pytest.raises(ValueError, match="gave a gradient of shape"):
        unbroadcast(np.ones((2, 3)), (2, 2))
    with pytest.raises(ValueError, match="gave a gradient of shape"):
        unbroadcast(np.ones(3), (2, 3))


def test_a_python_value_where_a_number_is_wanted():
    t = leaf([[2.5]])
    assert (bool(t), t.item(), f"{t:.2f}") == (True, 2.5, "2.50")
    assert len(leaf(np.ones((3, 2)))) == 3
    assert [row.shape for row in leaf(np.ones((3, 2)))] == [(2,)] * 3


def test_repr():
    assert repr(leaf([[1.0, 2.0]], name="w")) == (
        "Tensor([[1., 2.]], shape=(1, 2), dtype=float64, name='w', requires_grad=True)"
    )
    assert repr(leaf(2.0) * 2) == "Tensor(4.0, shape=(), dtype=float64, op=multiply)"
    assert "..." in repr(tg.Tensor(np.zeros(10_000)))
    assert repr(leaf(leaf(1.0))).startswith("Tensor(Tensor(1.0, ")
    assert "dask" in repr(leaf(da.ones(3)))


def test_leaves_copy_and_pickle():
    w = leaf([1.0, 2.0], name="w")
    for twin in (copy.deepcopy(w), pickle.loads(pickle.dumps(w))):
        assert twin.name == "w"
        assert twin.requires_grad
        (twin * twin).backward(np.ones(2))
        assert w.grad is None


def test_recursion_limit_plays_no_part():
    limit = sys.getrecursionlimit()
    x = leaf(1.0)
    z = x
    for _ in range(3 * limit):
        z = np.tanh(z)
    z.backward()
    assert 0 < x.grad < 1


def test_a_complex_gradient_of_a_real_tensor_is_refused():
    x = leaf([1.0])
    with pytest.raises(TypeError, match="complex; costs must be real"):
        (x * np.array([1j])).backward([1.0])


def test_a_seed_takes_the_dtype_and_may_be_a_tensor():
    x = leaf(np.ones(2, np.float32))
    h = x * 2
    h.backward(tg.Tensor([1.0, 3.0]))
    assert isinstance(h.grad, np.ndarray)
    assert h.grad.dtype == np.float32
    np.testing.assert_array_equal(x.grad, [2, 6])


def test_a_seed_of_a_lower_level_is_differentiated():
    inner, seed = leaf(2.0), leaf(3.0)
    outer = leaf(inner)
    (outer * outer).backward(seed)
    outer.grad.backward()
    assert seed.grad == 2 * 2
    assert inner.grad == 2 * 3


def test_a_seed_of_symbols_may_be_of_numbers():
    x = leaf(symbolic.symbols("x", (2,)))
    z = x * x
    z.backward(np.array([1.0, 3.0]))
    assert z.grad.dtype == float
    np.testing.assert_array_equal(x.grad.evaluate({x: [5.0, 7.0]}), [10, 42])


def test_an_op_keeps_the_documentation_of_its_rule():
    assert tg.tanh.__doc__.startswith("Hyperbolic tangent")


def test_a_tensor_knows_what_computed_it():
    t = leaf(np.ones((2, 3)))
    z = np.sum(t, axis=0)
    assert (z.op, z.inputs, z.options) == (tg.sum, (t,), {"axis": 0})
    assert (t.op, t.inputs, t.options) == (None, (), {})


def test_a_rule_without_annotations_gets_lists_as_arrays_and_words_as_they_are():
    @tg.op()
    def scaled(x, y, how):
        return x * getattr(y, how)(), (lambda dz: dz * getattr(y, how)(),)

    x = leaf([1.0, 2.0])
    np.sum(scaled(x, [3.0, 4.0], "sum")).backward()
    np.testing.assert_array_equal(x.grad, [7, 7])


def test_a_rule_may_give_a_number_as_the_gradient_of_a_number_but_not_nothing():
    @tg.op()
    def tripled(x):
        return x * 3.0, (lambda dz: 3.0,)

    @tg.op()
    def forgetful(x):
        return x * 3.0, (lambda dz: None,)

    x = leaf(2.0)
    tripled(x).backward()
    assert x.grad == 3
    with pytest.raises(TypeError, match="the gradient from forgetful's rule has dtype object"):
        forgetful(x).backward()


def test_a_list_that_is_no_array_is_refused_with_the_op_and_the_shapes():
    with pytest.raises(ValueError, match=r"multiply: argument 1 is \(2,\), .*argument 2 is not a rectangular array"):
        leaf([1.0, 2.0]) * [[1.0, 2.0], [3.0]]


def test_where_takes_its_condition_from_a_tensor():
    x = leaf([1.0, 2.0])
    np.sum(np.where(tg.Tensor([True, False]), x, 0.0)).backward()
    np.testing.assert_array_equal(x.grad, [1, 0])


def test_numbers_come_out_of_any_array():
    assert leaf(da.from_array(np.array([[2.5]]))).item() == 2.5


def test_mixed_levels_in_every_order():
    """The product of a level-1, a level-2 Tensor, an array and a list, in any order, has one derivative."""

    @tg.op()
    def product(a, b, c, d):
        return a * b * c * d, (
            lambda dz: dz * b * c * d,
            lambda dz: dz * a * c * d,
            lambda dz: dz * a * b * d,
            lambda dz: dz * a * b * c,
        )

    for order in itertools.permutations(range(4)):
        low, inner = leaf(np.array([2.0])), leaf(np.array([3.0]))
        high = leaf(inner)
        operands = [low, high, np.array([5.0]), [7.0]]
        product(*(operands[i] for i in order)).backward([1.0])
        assert high.grad.data == 2 * 5 * 7
        high.grad.backward()
        assert low.grad == 5 * 7
        assert inner.grad is None


def test_an_op_may_be_meant_by_any_callable_that_is_no_plain_function():
    class Library:
        """Such as another library's universal function."""

        def __call__(self, x):
            return x

    function = Library()

    @tg.op(function)
    def same(x):
        return x, (lambda dz: dz,)

    try:
        assert tg.engine.tensor.implementations[function] is same
    finally:
        del tg.engine.tensor.implementations[function]
