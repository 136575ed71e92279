"""Errors name the op, the roles and the shapes, and the likely cause where it is one."""

import numpy as np
import pandas as pd
import pytest

import tinygrad_dls as tg
from tests.engine.leaves import leaf
from tinygrad_dls.engine.errors import role


def product(a, b):
    """The error of a matrix product of arrays of these shapes."""
    with pytest.raises(ValueError, match=r"^matmul: ") as error:
        leaf(np.ones(a), name="A") @ leaf(np.ones(b), name="B")
    return str(error.value)


def test_a_role_is_a_name_that_is_text():
    assert role(leaf(1.0, name="W1"), 2) == "W1"
    assert role(leaf(1.0), 2) == "argument 2"
    assert role(pd.Series([1.0], name=5), 1) == "argument 1"
    assert role(pd.Series([1.0], name=""), 1) == "argument 1"


def test_a_product_that_does_not_fit_says_what_would():
    assert product((2, 3), (4, 5)) == "matmul: A is (2, 3), B is (4, 5); expected B to be (3, m)."


@pytest.mark.parametrize(("a", "b"), [((2, 3), (4, 3)), ((4, 3), (4, 3))])
def test_a_transposed_operand_is_guessed_where_the_transpose_would_fit(a, b):
    text = product(a, b)
    assert text == f"matmul: A is {a}, B is {b}; expected B to be (3, m). Did you pass B transposed?"


@pytest.mark.parametrize(("a", "b"), [((2, 3), (4, 2)), ((2, 3), (2, 5)), ((3, 2), (4, 1))])
def test_no_transposed_operand_is_guessed_where_it_would_not_fit(a, b):
    assert "transposed" not in product(a, b)


@pytest.mark.parametrize(("a", "b"), [((2, 3), (4,)), ((4,), (2, 3)), ((4,), (3,)), ((2, 2, 3), (4, 3))])
def test_of_vectors_and_stacks_numpys_own_words_are_kept(a, b):
    text = product(a, b)
    assert text.startswith(
        f"matmul: A is {a}, B is {b}; matmul: Input operand 1 has a mismatch in its core dimension 0"
    )


def test_an_op_of_several_arrays_that_multiplies_the_first_two_says_what_would_fit():
    @tg.op()
    def layer(w, a, b):
        return np.matmul(w, a) + b, (lambda dz: dz @ a.T, lambda dz: w.T @ dz, lambda dz: dz)

    with pytest.raises(ValueError, match=r"layer: W is \(1, 2\), .*; expected argument 2 to be \(2, m\)\.$"):
        layer(leaf(np.ones((1, 2)), name="W"), np.ones((3, 5)), np.ones((1, 1)))
