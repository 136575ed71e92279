"""When formulas are equal, by proof, and what is undecided; and kinks, decided by case."""

import random
import re

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.symbolic.proving import y, z
from tinygrad_dls.symbolic import SymbolicArray, algebra, in_case, same, simplify, symbols


def test_formulas_are_found_equal_by_algebra():
    u, v = symbols("u"), symbols("v")
    equal = [
        (np.exp(u + v), np.exp(u) * np.exp(v)),
        (np.exp(u / 2) ** 2, np.exp(u)),
        (np.log(np.exp(u) / (1 + np.exp(v))), u - np.log(1 + np.exp(v))),
        (np.log((1 - u) * 6), np.log(1 - u) + np.log(SymbolicArray(6))),
        (np.log((u - 1) ** 2), np.log((1 - u) ** 2)),
        (2.0 ** (u + 1), 2 * 2.0**u),
        (np.exp(SymbolicArray(1) + u), np.exp(SymbolicArray(1)) * np.exp(u)),
        (np.sqrt(u**2 + 2 * u * v + v**2 + 1), np.sqrt((u + v) ** 2 + 1)),
        (np.sin(u * (v + 1)), np.sin(u * v + u)),
        (np.sqrt(np.exp(u) + 1) ** 3, (np.exp(u) + 1) * np.sqrt(1 + np.exp(u))),
        (np.exp(2 * np.exp(u)), np.exp(np.exp(u)) ** 2),
        (np.log(1 + np.exp(-np.exp(u))), np.log(1 + np.exp(np.exp(u))) - np.exp(u)),
        (np.exp(u) ** (v + 0.5), np.exp(u * v + u / 2)),
        (
            symbols("p", positive=True) ** (v + 0.5),
            symbols("p", positive=True) ** v * np.sqrt(symbols("p", positive=True)),
        ),
        (
            np.log(SymbolicArray(12) / 5),
            2 * np.log(SymbolicArray(2)) + np.log(SymbolicArray(3)) - np.log(SymbolicArray(5)),
        ),
        (tg.sigmoid(-u), 1 - tg.sigmoid(u)),
        (tg.softmax(np.stack([u, v]))[0], tg.sigmoid(u - v)),
        (1 - np.tanh(u) ** 2, 1 / np.cosh(u) ** 2),
        (np.tanh(u), 2 * tg.sigmoid(2 * u) - 1),
        (np.sinh(u + v), np.sinh(u) * np.cosh(v) + np.cosh(u) * np.sinh(v)),
        (np.log(2 * np.cosh(u)), np.log(np.exp(u) + np.exp(-u))),
    ]
    for a, b in equal:
        assert same(a, b), (a, b)
        assert not same(a, b + 1)
        assert same(simplify(a - b), SymbolicArray(0)), (a, b)


def test_formulas_that_differ_are_not_found_equal():
    """Also where the quick look at numbers is no help: pairs whose difference is small, or 0 at those numbers."""
    u, p = symbols("u"), symbols("p", positive=True)
    different = [
        (np.sqrt(u**2), u), (np.log(u**2), 2 * np.log(-u) + 1), (p ** (u + 0.5), p**u), (np.exp(u / 2), 1),
        (np.exp(np.exp(u)), np.exp(2 * np.exp(u))), (np.log(1 + np.exp(-np.exp(u))), np.log(1 + np.exp(np.exp(u)))),
        (np.abs(u), u), (np.maximum(u, 0), u), (u > 0, 1), (np.sin(u), u), (1 / u, np.log(SymbolicArray(0))),
    ]  # fmt: skip
    for a, b in different:
        assert not same(a, b), (a, b)
        with pytest.MonkeyPatch.context() as blind:
            blind.setattr(algebra, "_is_not_zero_somewhere", lambda x: False)
            assert not same(a, b), (a, b)
            assert not same(a * 1e-9, b * 1e-9), (a, b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.sin(z) ** 2, 1 - np.cos(z) ** 2),
        (np.maximum(z, 0), (z + np.abs(z)) / 2),
        (np.where(z > 0, np.log(z), np.log(-z)), np.log(np.abs(z))),
        (np.sqrt(z) * np.sqrt(y), np.sqrt(z * y)),  # also below 0, where the roots are not real
        (1 / np.arctan(y / z), 1 / np.arcsin(y / np.sqrt(z**2 + y**2) * np.sign(z))),  # not defined everywhere
    ],
)
def test_formulas_that_seem_equal_without_a_proof_are_undecided(a, b):
    with pytest.raises(ValueError, match=r"^same: undecided: equal at all points tried, but no proof found that "):
        same(a, b)
    assert not same(a, b + symbols("tiny", (1, 1)) * 1e-15)
    assert not same(np.concatenate([a, z]), np.concatenate([b, y]))  # the first undecided, the second different


@pytest.mark.parametrize("assumption", ["positive", "negative", "integer", "even", "nonzero", "nonpositive"])
def test_points_where_formulas_are_compared_are_as_assumed(assumption):
    u = symbols("u", **{assumption: True})
    with pytest.raises(ValueError, match="equal at all points"):
        same(np.sin(u) ** 2, 1 - np.cos(u) ** 2)
    draws = random.Random(1)
    assert all(getattr(algebra._draw(u.item(), draws, -101, 101), f"is_{assumption}") for _ in range(20))


def test_without_a_point_to_compare_at_it_is_undecided():
    with pytest.raises(ValueError, match="undecided: no point found where both are real, but no proof"):
        same(np.log(-(y**2) - 1), y)
    with pytest.raises(ValueError, match="undecided: no point found"):
        same(np.sin(symbols("u", irrational=True)) ** 2, symbols("u", irrational=True))


def test_a_kink_is_decided_by_any_multiple_of_what_it_compares():
    u, v = symbols("u"), symbols("v")
    assert str(in_case(np.maximum(2 * u, 2 * v) + np.abs(v - u), u - v, 1)) == "3*u - v"
    assert str(in_case(np.minimum(-3 * u, 0) * (u <= 0), u, 0)) == "0"
    assert str(in_case(np.max(np.stack([u, v, 2 * v - u])), v - u, -1)) == "u"
    assert str(in_case(np.abs(v), u, 1)) == "Abs(v)"
    assert str(in_case(np.abs(v), SymbolicArray([0, 1]), 1)) == "Abs(v)"  # nothing to learn from numbers


@pytest.mark.parametrize(
    ("signs", "text"),
    [
        (0.5, "in_case: signs are -1, 0 and 1, got 0.5."),
        ([2, -1], "in_case: signs are -1, 0 and 1, got [2, -1]."),
        ([1, 1, 1], "in_case: signs are (3,); expected the shape of Z, (2,), or 1."),
    ],
)
def test_in_case_refuses_what_is_no_sign(signs, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        in_case(symbols("z", (2,)), symbols("z", (2,)), signs)
