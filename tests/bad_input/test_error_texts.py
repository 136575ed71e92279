"""What the errors of bad input say, in full."""

from __future__ import annotations

import re

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.bad_input.calls import X3
from tests.bad_input.checks import cubes
from tests.bad_input.training import Y15, trained


@pytest.mark.parametrize(
    ("f", "text"),
    [
        (lambda: tg.Tensor([1.0], "W1"), "this Tensor: requires_grad must be True or False, got 'W1'."),
        (lambda: tg.nn.Linear(2, 1, rng="0"),
         "Linear 2 -> 1: rng must be a seed, an integer >= 0, or a generator, got '0'."),
        (lambda: tg.nn.Linear(2, 1, rng=0, dtype=int),
         "Linear: dtype must be a floating dtype, such as float or np.float32"),
        (lambda: tg.init.he((2,), 0), "init.he: shape must be (n_out, n_in), got (2,)."),
        (lambda: tg.nn.Dropout("0.5", rng=0), "Dropout: keep_prob must be a number, got '0.5'."),
        (lambda: tg.nn.LogisticRegression(2).load_state_dict([1]),
         "the state of a model, a dict of arrays by name: [1]."),
        (lambda: tg.optim.SGD([tg.Tensor(1.0)], 0.1, nesterov="no"), "nesterov must be True or False, got 'no'."),
        (lambda: tg.optim.Adam([tg.Tensor(1.0)], betas=0.9), "betas must be two numbers in [0, 1), got 0.9."),
        (lambda: tg.optim.step_decay(0.1, factor=0.5, every=0), "step_decay: every must be a positive integer, got 0."),
        (lambda: tg.optim.cosine_decay(-1, steps=2), "cosine_decay: lr must be a finite number >= 0, got -1."),
        (lambda: trained(np.full((3, 5), np.nan), Y15),
         "fit: X holds 15 NaN or infinities among its 15 entries in the training data."),
        (lambda: tg.mean(np.ones((0, 2)), axis=0), "mean: argument 1 is (0, 2); 0 entries are too few"),
        (lambda: tg.var(np.ones((1, 2)), axis=0, ddof=1),
         "var: argument 1 is (1, 2); 1 entries are too few for ddof=1"),
        (lambda: tg.grad(cubes, (0, -1))(X3), "grad: argnums=(0, -1) names an argument twice."),
        (lambda: tg.grad(cubes, None), "grad: argnums must be an int or a tuple of ints, got None."),
        (lambda: tg.stack(3), "stack takes a list of arrays, got 3."),
        (lambda: tg.astype(np.ones(2), str),
         "astype: argument 1 is (2,), argument 2 is type; the result has dtype <U32"),
        (lambda: tg.datasets.read_csv(1, target="y"), "read_csv: path must be a str or a path, got 1."),
        (lambda: tg.confusion_matrix([[0, 10**6]], [[0, 1]]),
         "classes up to 1000000; number them from 0 without gaps."),
    ],
)  # fmt: skip
def test_what_the_errors_say(f, text):
    with pytest.raises((ValueError, TypeError), match=re.escape(text)):
        f()
