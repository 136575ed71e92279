"""Both sides of every pair are the same, on arrays of all dtypes, infinite and NaN where the pair claims them.

A pair is tried on calls that it is for, until enough of them are found: random arrays, numbers, shapes and axes stand
for its variables. What it puts in the place of a call must have the same shape and dtype, and be equal up to the
roundings of the few calls that change places. Pairs that are wrong are planted, and must be noticed.
"""

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.support.programs import text
from tinygrad_dls.compiler import lowering
from tinygrad_dls.engine.errors import RecordingError
from tinygrad_dls.ir.call import Call, evaluate, program_input
from tinygrad_dls.ir.functions import sigmoid
from tinygrad_dls.ir.rewrite import Identity, Pair, named, names_of, rewrite
from tinygrad_dls.ir.rules import ALGEBRA, RULES, floats, open_interval
from tinygrad_dls.ir.tracer import Trace, Tracer

DTYPES = [np.dtype(name) for name in ("f8", "f8", "f4", "f2", "i8", "i1", "u1", "?")]
SHAPES = [(2, 3), (2, 3), (3, 2), (3, 3), (1, 3), (2, 1), (1, 1), (3,), ()]
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, 1e3, -1e3]  # the exponential of 1,000 is infinite, that of -1,000 is 0
NEVER_FINITE = [np.inf, -np.inf, np.nan]
ARGUMENTS = [None, 0, 1, -1, 2, 0.5, (), (0, 1), (1, -1), (-1,), (2, 3), (1, 3), (3,), (2,), 3, np.array([0.5, -1, 2])]
ENOUGH, ATTEMPTS = 30, 20_000  # a pair for one number alone, and those of the right shape, are hit by few attempts
ROUNDINGS = 8  # of calls that change places, such as a product and a quotient: four roundings on each side


def named_pairs():
    for rule in (*ALGEBRA, *lowering.RULES):
        for i, pair in enumerate(getattr(rule, "pairs", ())):
            yield pytest.param(pair, id=f"{rule.__name__}-{i + 1}")
    for i, pair in enumerate(lowering.BESIDE):
        yield pytest.param(pair, id=f"beside-{i + 1}")


def variable(letter, dtype, finite, rng):
    """What may stand for a variable: an array, a number, or any argument."""
    if letter in "cd":
        return [1, -1, 2, 0.5, -3.5, 0, 0.0, 7, np.inf, *open_interval(dtype if dtype.kind == "f" else "f8")][
            rng.integers(11)
        ]
    if letter in "ab" and rng.random() < 0.6:
        return ARGUMENTS[rng.integers(len(ARGUMENTS))]
    shape = () if letter == "m" else SHAPES[rng.integers(len(SHAPES))]
    if letter != "m" and rng.random() < 0.5:
        shape = (2, 3)  # so that operands of the same shape come together
    if dtype.kind != "f":
        return rng.integers(0 if dtype.kind in "u?" else -100, 100, shape).astype(dtype)
    values = SPECIAL if finite else SPECIAL + NEVER_FINITE
    some = rng.choice(values, shape)
    return np.where(rng.random(shape) < 0.5, some, rng.normal(scale=2, size=shape)).astype(dtype)


def trial(pair, rng):
    """A call, what the pair puts in its place, and the inputs; None where it is not for what was drawn."""
    dtype = DTYPES[rng.integers(len(DTYPES))]
    other = DTYPES[rng.integers(len(DTYPES))] if rng.random() < 0.1 else dtype
    drawn = {x: variable(x, dtype if x != "m" else other, pair.finite, rng) for x in names_of(pair.before)}
    trace = Trace()
    arrays = {
        name: trace.input(name, x) if isinstance(x, np.ndarray) and name not in "cd" else x for name, x in drawn.items()
    }
    try:
        before = pair.before(*arrays.values())
        there = [program(*(arrays[name] for name in names_of(program))).call for program in pair.beside.values()]
    except (TypeError, ValueError, IndexError, OverflowError, RecordingError, AttributeError):
        return None
    if not isinstance(before, Tracer):
        return None
    new = pair(before.call, there)
    return (
        None
        if new is None
        else (before.call, new, {x.call: drawn[name] for name, x in arrays.items() if isinstance(x, Tracer)})
    )


def assert_same(call, new, inputs):
    (old,), (value,) = evaluate([call], inputs), evaluate([new], inputs)
    assert np.shape(value) == np.shape(old) == new.shape, text(new)
    assert np.asarray(value).dtype == np.asarray(old).dtype == new.dtype, text(new)
    eps = np.finfo(old.dtype).eps if old.dtype.kind == "f" else 0
    np.testing.assert_allclose(
        value, old, rtol=ROUNDINGS * eps, atol=ROUNDINGS * eps, err_msg=f"{text(call)} is not {text(new)}"
    )


def assert_holds(pair):
    """Assert that a pair is for some calls, and that what it puts in their place is the same."""
    rng = np.random.default_rng(0)
    tried, dtypes, infinite = 0, set(), False
    with np.errstate(all="ignore"):
        for _ in range(ATTEMPTS):
            if (found := trial(pair, rng)) is not None:
                assert_same(*found)
                tried += 1
                dtypes.add(found[0].dtype)
                infinite = infinite or any(x.dtype.kind == "f" and not np.isfinite(x).all() for x in found[2].values())
            if tried >= ENOUGH and infinite != pair.finite and {np.dtype("f4"), np.dtype("f8")} <= dtypes:
                return
    raise AssertionError(f"tried on {tried} calls of {dtypes}, infinite ones among them: {infinite}")


@pytest.mark.parametrize("pair", list(named_pairs()))
def test_both_sides_of_a_pair_are_the_same(pair):
    assert_holds(pair)


WRONG = {
    "another order": Pair(lambda x, y: x - y, lambda x, y: y - x),
    "another sign": Pair(lambda x: x**2, lambda x: -(x**2)),
    "wrong of negative numbers": Pair(lambda x: np.sqrt(x * x), lambda x: x),
    "wrong of infinite numbers": Pair(lambda x: x - np.maximum(x, 0), lambda x: np.minimum(x, 0), floats),
    "wrong of large numbers": Pair(lambda x: np.log(np.exp(x)), lambda x: x),
    "wrong of zero": Pair(lambda x: x / x, lambda x: x**0, floats, finite=True),
    "wrong of NaN": Pair(lambda x: x * 0, lambda x: np.zeros_like(x), floats),
    "wrong by more than rounding": Pair(lambda x: np.tanh(x), lambda x: np.tanh(x * (1 - 1e-3))),
    "wrong of integers, which wrap around": Pair(lambda x: np.abs(x) * x, lambda x: np.sign(x) * x.astype(float) ** 2),
    "a product the other way round": Pair(lambda x: x.T @ x, lambda x: x @ x.T),
    "a bound that is another": Pair(lambda x, a, b: np.clip(np.clip(x, a, b), a, b), lambda x, a: np.clip(x, a, None)),
    "a formula that is another": Pair(lambda x: named(sigmoid)(x), lambda x: 1 - sigmoid(x)),
    "an axis that is another": Pair(lambda x: np.sum(x, axis=0), lambda x: np.sum(x, axis=1), finite=True),
    "for no call at all": Pair(lambda x: x + "no number", lambda x: x),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_pair_is_noticed(wrong):
    with pytest.raises((AssertionError, TypeError)):
        assert_holds(WRONG[wrong])


@named
def several(*arrays):
    return sum(arrays)


def traced(code, **inputs):
    trace = Trace()
    return eval(code, {"np": np, "several": several, **{name: trace.input(name, x) for name, x in inputs.items()}}).call


def test_a_rule_is_added_in_one_line():
    new_rule = Pair(lambda x: np.log(np.exp(x)), lambda x: x)
    call = traced("1 * np.log(np.exp(x + 0)) - y", x=np.ones((2, 3)), y=np.ones((1, 3)))
    (new,) = rewrite([call], [*RULES, new_rule])
    assert text(new) == "subtract(x, y)"


def test_the_first_pair_that_is_for_a_call_is_taken():
    one, other = (Pair(lambda x: np.exp(x), after) for after in (lambda x: np.sin(x), lambda x: np.cos(x)))
    call = traced("np.exp(x)", x=np.ones(3))
    assert text(rewrite([call], [Identity("both", "Wrong.", one, other)])[0]) == "sin(x)"
    assert text(rewrite([call], [other, one])[0]) == "cos(x)"


@pytest.mark.parametrize(
    ("pair", "code"),
    [
        (Pair(lambda x: np.exp(x), lambda x: np.sum(x)), "np.exp(x)"),  # another shape
        (Pair(lambda x: np.exp(x), lambda x: x > 0), "np.exp(x)"),  # another dtype
        (Pair(lambda x: x * x, lambda x: x**2), "x * y"),  # one variable, two arrays
        (Pair(lambda c, x: x + c, lambda c, x: c + x), "x + y"),  # no number
        (Pair(lambda x: np.sum(x), lambda x: x), "np.sum(x, axis=0)"),  # an option more
        (Pair(lambda x: np.sum(x, axis=0), lambda x: x), "np.sum(x, axis=1)"),  # another option
        (Pair(lambda x: x + 1, lambda x: x + 2), "x + 3"),  # another number
        (Pair(lambda u: u.astype("f8"), lambda u: np.exp(u.astype("f4"))), "n.astype('f4')"),  # another dtype asked for
        (Pair(lambda x: x[:, :2], lambda x: -x[:, :2]), "x[:, 1:]"),  # other columns, further on
        (Pair(lambda x: x[:, 1:], lambda x: -x[:, 1:]), "x[:, :2]"),  # and before
        (Pair(lambda x: several(x), lambda x: x), "several(x, y)"),  # an argument more
        (Pair(lambda x, y: np.where(x > y, x, y), lambda x, y: np.maximum(x, y), floats), "np.where(n > k, n, k)"),
    ],
)
def test_a_pair_leaves_alone_what_only_looks_alike(pair, code):
    inputs = {"x": np.ones((2, 3)), "y": np.ones((2, 3)), "n": np.ones(3, int), "k": np.ones(3, int)}
    call = traced(code, **inputs)
    assert pair(call) is None


def test_a_pair_may_be_for_an_argument_that_is_no_number():
    pair = Pair(lambda x: np.reshape(x, (1, 2, 3)), lambda x: x[None])
    call = traced("np.reshape(x, (1, 2, 3))", x=np.ones((2, 3)))
    assert pair(call) is not None
    assert text(rewrite([call], [pair])[0]) == text(pair(call))


def test_a_call_keeps_numpys_dtype_where_its_parts_have_pythons():
    # the number of examples is one of Python's, whose dtype is float: it equals float64, but has no itemsize
    m = program_input("m", (), float)
    call = Call(np.multiply, (m, 2.0), {}, (), np.dtype(float))
    assert type(Pair(lambda m, c: m * c, lambda m, c: m + c)(call).dtype) is type(call.dtype)
    assert Pair(lambda m, c: m * c, lambda m, c: m)(call) is m
    assert m.dtype is float  # which the call alone does not make another


def test_a_pair_beside_something_waits_until_it_is_there():
    pair = Pair(lambda x: np.exp(-x), lambda e: 1 / e, beside={"e": lambda x: np.exp(x)})
    alone = traced("np.exp(-x)", x=np.ones(3))
    trace = Trace()
    x = trace.input("x", np.ones(3))
    both = [np.exp(-x).call, np.exp(x).call]
    assert pair(alone, [alone]) is None
    assert text(pair(both[0], both)) == "divide(1, exp(x))"


def test_limits_that_integers_do_not_have_stay_with_clip():
    x = np.array([[1, 200, 7]], np.uint8)
    np.testing.assert_array_equal(tg.compile(lambda x: np.clip(x, -1, 7))(x), [[1, 7, 7]])
