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


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda A, B: A(2, 3) @ B(2, 5), "Did you mean the transpose of A?"),
        (lambda A, B: A(2, 7) @ B(3, 2), "The product of B and A, in this order, fits."),
        (lambda A, B: A(3, 2) @ B(7), "Expected B to be (2, m): examples are columns."),
        (lambda A, B: A(3, 7) - B(7, 3), "Did you pass B transposed?"),
        (lambda A, B: A(3, 7) - B(3, 6), "Do both hold the same examples? These are the columns."),
        (lambda A, B: np.sum(A(3, 7), axis=2), "axis=0 goes down the rows, axis=1 along the examples."),
    ],
)
def test_shapes_that_do_not_fit_name_the_likely_cause(make, said):
    def array(name):
        return lambda *shape: leaf(np.ones(shape), name=name)

    with pytest.raises(ValueError, match=r"^(matmul|subtract|sum): A is ") as error:
        make(array("A"), array("B"))
    assert str(error.value).endswith(said)


@pytest.mark.parametrize("b", [leaf(np.ones(3), name="b"), np.ones(3), [1.0, 2.0, 3.0]])
@pytest.mark.parametrize("swapped", [False, True])
def test_a_vector_with_an_entry_for_each_row_is_to_be_a_column(b, swapped):
    Z = leaf(np.ones((3, 5)), name="Z")
    with pytest.raises(ValueError, match=r"^add: .*Z is \(3, 5\)") as error:
        np.add(b, Z) if swapped else np.add(Z, b)
    called = "b" if isinstance(b, tg.Tensor) else f"argument {1 if swapped else 2}"
    assert str(error.value).endswith(
        f"A vector goes along the examples, and {called} has an entry for each row: make it a column, (3, 1), with "
        ".reshape(-1, 1), or with keepdims=True where it was summed."
    )


@pytest.mark.parametrize(("a", "b"), [((3, 5), (2, 5)), ((3, 5), (4,)), ((2, 3, 5), (2, 3)), ((3,), (2,))])
def test_no_cause_is_guessed_where_none_is_likely(a, b):
    with pytest.raises(ValueError, match=r"^add: .* operands could not be broadcast together with shapes \S+ \S+ $"):
        leaf(np.ones(a)) + leaf(np.ones(b))


def test_an_op_of_several_arrays_that_multiplies_the_first_two_says_what_would_fit():
    @tg.op()
    def layer(w, a, b):
        return np.matmul(w, a) + b, (lambda dz: dz @ a.T, lambda dz: w.T @ dz, lambda dz: dz)

    with pytest.raises(ValueError, match=r"layer: W is \(1, 2\), .*; expected argument 2 to be \(2, m\)\.$"):
        layer(leaf(np.ones((1, 2)), name="W"), np.ones((3, 5)), np.ones((1, 1)))
