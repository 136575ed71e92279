"""Random programs of our ops give JAX's values, gradients and second derivatives."""

import functools
import operator
import os
import re
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import settings

import tinygrad_dls as tg
from tests.support.op_cases import public_ops
from tests.support.programs import MARGIN, OURS, random_program
from tinygrad_dls.engine import tensor

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_disable_most_optimizations", True)  # compiling is all the time that it takes here
SIMPLE_KERNELS = {"xla_cpu_use_fusion_emitters": False}  # which compile three times as fast

# 50 programs ordinarily, 1,500 in the deep profile.
SEEDS = range(settings.default.max_examples // 2)
ORDINARY = range(50)
ROOT = Path(__file__).parents[2]


def largest(x, *, axis, keepdims):
    """The entry within half a MARGIN of the largest: no other is that near.

    The derivative of jnp.max looks for x == max(x). Compiled, that may round x anew, and find none.
    """
    chosen = x > jnp.max(x, axis=axis, keepdims=True) - MARGIN / 2
    return jnp.sum(jnp.where(chosen, x, 0), axis=axis, keepdims=keepdims)


JAX = {
    **{name: getattr(jnp, name) for name in OURS if hasattr(jnp, name)},
    **{name: getattr(jax.nn, name) for name in ("relu", "sigmoid", "softplus", "softmax", "log_softmax", "logsumexp")},
    "max": largest,
    "min": lambda x, **options: -largest(-x, **options),
    "affine": lambda w, a, b: jnp.dot(w, a) + b,
    "concatenate": lambda *xs, axis: jnp.concatenate(xs, axis=axis),
    "stack": lambda *xs, axis: jnp.stack(xs, axis=axis),
    "where": lambda x, y, a, b: jnp.where(x > y, a, b),
    "getitem": operator.getitem,
    "binary_cross_entropy": lambda A, Y: -jnp.sum(Y * jnp.log(A) + (1 - Y) * jnp.log(1 - A)) / Y.shape[1],
    "binary_cross_entropy_with_logits": lambda Z, Y: jnp.sum(jax.nn.softplus(Z) - Y * Z) / Y.shape[1],
    "mean_squared_error": lambda A, Y: jnp.sum((A - Y) ** 2) / A.shape[1],
    "softmax_cross_entropy": lambda Z, Y: (
        -jnp.sum((np.eye(len(Z))[:, Y[0]] if Y.dtype.kind == "i" else Y) * jax.nn.log_softmax(Z, axis=0)) / Z.shape[1]
    ),
}


def directions(program):
    rng = np.random.default_rng(0)
    return [rng.normal(size=x.shape) for x in program.inputs]


@functools.cache
def jaxs(seed):
    """The program of a seed, and by JAX: all values, the gradient, and its derivative (forward over reverse)."""
    program = random_program(seed)
    places = tuple(range(len(program.inputs)))

    def everything(inputs, along):
        gradient = jax.grad(lambda *xs: program.run(JAX, xs)[-1], argnums=places)
        return program.run(JAX, inputs), *jax.jvp(gradient, inputs, along)

    arguments = [tuple(map(jnp.asarray, arrays)) for arrays in (program.inputs, directions(program))]
    lowered = jax.jit(everything).lower(*arguments)
    try:
        compiled = lowered.compile(SIMPLE_KERNELS)
    except RuntimeError:  # a release of JAX that has no such option
        compiled = lowered.compile()
    return program, *compiled(*arguments)


def nested(program, table):
    """The values, and the inputs as Tensors in Tensors, after a pass backward and one through that pass."""
    inner = [tg.Tensor(x, requires_grad=True) for x in program.inputs]
    outer = [tg.Tensor(t, requires_grad=True) for t in inner]
    values = program.run(table, outer)
    values[-1].backward()
    slope = sum(tg.sum(u * t.grad) for u, t in zip(directions(program), outer, strict=True))
    if isinstance(slope, tg.Tensor) and slope.requires_grad:  # else the program is linear
        slope.backward()
    return values, inner, outer


def assert_agreement(seed, table=OURS):
    program, values, first, second = jaxs(seed)
    inputs = [tg.Tensor(x, requires_grad=True) for x in program.inputs]
    got = program.run(table, inputs)
    got[-1].backward()
    for place, (ours, jaxs_value) in enumerate(zip(got, values, strict=True)):
        assert_close(ours.data, jaxs_value, VALUES, f"v{place} of {program}")
    _, inner, outer = nested(program, table)
    for t, t1, t2, g, h in zip(inputs, outer, inner, first, second, strict=True):
        assert_close(t.grad, g, SLOPES, f"gradient of {program}")
        assert_close(tensor.values(t1.grad), t.grad, SLOPES, f"gradient, of Tensors in Tensors, of {program}")
        hessian_product = np.zeros(t2.shape) if t2.grad is None else t2.grad
        assert_close(hessian_product, h, CURVATURES, f"second derivative of {program}")


# The largest differences in 1,000 programs, of some twenty steps that round a few times each, are 1e-14 in values and
# in gradients. In second derivatives, terms of some thousands may cancel entirely, which leaves 7e-12. A wrong rule is
# off by much more.
VALUES, SLOPES, CURVATURES = 1e-13, 1e-12, 1e-10


def assert_close(ours, jaxs, tolerance, message):
    """Equal relative to the largest entry, or to 1."""
    np.testing.assert_allclose(ours, jaxs, rtol=0, atol=tolerance * np.abs(jaxs).max(initial=1), err_msg=message)


@pytest.mark.parametrize("seed", SEEDS)
def test_values_gradients_and_second_derivatives_are_jaxs(seed):
    assert_agreement(seed)


def test_the_programs_use_every_op_in_both_orders():
    assert OURS.keys() == JAX.keys() == public_ops() | {"affine"}
    first, second = set(), set()
    for seed in ORDINARY:
        program = random_program(seed)
        values, _, _ = nested(program, OURS)
        for step, value in zip(program.steps, values, strict=True):
            assert value.grad is not None  # no step is idle: the pass backward comes through it
            first.add(step.op)
            gradients = [values[i].grad for i in step.of]
            if any(isinstance(g, tg.Tensor) and g.grad is not None for g in gradients):
                second.add(step.op)  # the second pass comes through its rule
    assert first == second | {"input"} == OURS.keys() | {"input"}


@tg.op()
def tanh_without_a_square(z):
    a = np.tanh(z)
    return a, (lambda da: da * (1 - a),)


@tg.op()
def tanh_right_in_first_order(z):
    a = np.tanh(z)
    return a, (lambda da: da * (1 - tensor.values(a) ** 2),)


@tg.op()
def maximum_of_both(x, y):
    return np.maximum(x, y), (lambda dz: dz, lambda dz: dz)


@tg.op()
def softmax_of_one(z, axis=0):
    e = np.exp(z)
    a = e / np.sum(e, axis=axis, keepdims=True)
    return a, (lambda da: da * a * (1 - a),)


def first_disagreement(op, wrong):
    for seed in ORDINARY:
        try:
            if any(step.op == op for step in random_program(seed).steps):
                assert_agreement(seed, OURS | {op: wrong})
        except AssertionError as disagreement:
            return str(disagreement)
    return "none"


@pytest.mark.parametrize(
    ("op", "wrong", "place"),
    [
        ("tanh", np.sin, r"\nv\d+ of"),
        ("tanh", tanh_without_a_square, r"\ngradient of"),
        ("tanh", tanh_right_in_first_order, r"\nsecond derivative of"),
        ("maximum", maximum_of_both, r"\n(gradient|second derivative) of"),
        ("softmax", softmax_of_one, r"\n(gradient|second derivative) of"),
    ],
)
def test_a_wrong_rule_is_found(op, wrong, place):
    assert re.search(place, first_disagreement(op, wrong))


def test_a_run_without_jax_says_so():
    arguments = ["--collect-only", "-q", "tests/engine", "--ignore-glob=*/test_[!j]*"]
    code = f"import sys, pytest; sys.modules['jax'] = None; sys.exit(pytest.main({arguments}))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert "no tests collected" in run.stdout
    assert 'NOT RUN, without JAX: tests/engine/test_jax.py. pip install "tinygrad_dls[jax]"' in run.stdout


def test_arrays_of_jax_are_refused_and_what_asarray_makes_of_them_is_taken():
    with pytest.raises(TypeError, match=r"array of another library \(jaxlib ArrayImpl\), .* first: np\.asarray\(x\)"):
        tg.sigmoid(jnp.zeros(2))
    assert tg.sigmoid(np.asarray(jnp.zeros(2))).tolist() == [0.5, 0.5]
    np.testing.assert_array_equal(jnp.from_dlpack(tg.Tensor([1.0, 2.0])), [1.0, 2.0])
