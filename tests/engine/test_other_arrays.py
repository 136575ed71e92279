"""Arrays of libraries that do not speak NumPy's protocols are refused by name, with what to write instead."""

import array_api_strict as xp
import numpy as np
import pytest

import tinygrad_dls as tg

ROWS = xp.asarray([[1.0, 2.0], [3.0, 4.0]])
LABELS = xp.asarray([[1.0, 0.0]])
MODEL = tg.nn.LogisticRegression(2)
SGD = tg.optim.SGD(MODEL.parameters(), lr=0.1, momentum=0.9)
X, Y = np.ones((2, 2)), np.array([[1.0, 0.0]])

USES = {
    "a Tensor": (lambda: tg.Tensor(ROWS, name="W1"), "W1"),
    "an op": (lambda: tg.tanh(ROWS), "tanh: argument 1 is (2, 2); argument 1"),
    "an op beside a Tensor": (
        lambda: tg.Tensor(X) + ROWS,
        "add: argument 1 is (2, 2), argument 2 is (2, 2); argument 2",
    ),
    "a seed": (lambda: (tg.Tensor(X, requires_grad=True) * 2).backward(ROWS), "the seed"),
    "a gradient": (lambda: setattr(tg.Tensor(X), "grad", ROWS), "grad"),
    "a comparison": (lambda: tg.Tensor(X) == ROWS, "equal: argument 2"),
    "a loss": (lambda: tg.mean_squared_error(ROWS, X), "A"),
    "labels": (lambda: tg.binary_cross_entropy_with_logits(Y, LABELS), "Y"),
    "weights": (lambda: tg.mean_squared_error(Y, Y, sample_weight=LABELS), "sample_weight"),
    "a layer": (lambda: MODEL(ROWS), "affine: W is (1, 2), argument 2 is (2, 2), b is (1, 1); argument 2"),
    "first weights": (lambda: tg.nn.Linear(2, 2, init=ROWS), "init"),
    "fit": (lambda: tg.fit(MODEL, ROWS, Y, loss=tg.mean_squared_error, optimizer=SGD, epochs=1), "fit: X"),
    "mini-batches": (lambda: tg.minibatches(ROWS, Y, 1, rng=0), "minibatches: X"),
    "a state": (lambda: MODEL.load_state_dict({"W": xp.asarray([[0.0, 0.0]]), "b": np.zeros((1, 1))}), "W"),
    "moving": (lambda: MODEL.to(lambda x: xp.asarray(x)), "to: W"),
    "accuracy": (lambda: tg.accuracy(LABELS, Y), "predictions"),
    "gradcheck": (lambda: tg.check.gradcheck(np.tanh, ROWS), "gradcheck: x"),
}


@pytest.mark.parametrize("name", USES)
def test_another_library_is_named_wherever_its_arrays_come_in(name):
    use, what = USES[name]
    with pytest.raises(TypeError) as error:
        use()
    assert str(error.value) == (
        f"{what} is an array of another library (array_api_strict Array), whose graph and device would be lost. "
        "Convert it first: np.asarray(x), or x.detach().cpu().numpy() of PyTorch."
    )


@pytest.mark.parametrize("transform", [tg.grad, tg.value_and_grad, tg.jacobian, tg.hessian])
def test_transforms_name_it_too(transform):
    with pytest.raises(TypeError, match=r"x is an array of another library \(array_api_strict Array\)"):
        transform(lambda x: np.sum(x * x))(ROWS)
    with pytest.raises(TypeError, match=r"p\['W'\] is an array of another library \(array_api_strict Array\)"):
        transform(lambda p: np.sum(p["W"]))({"W": ROWS})


def test_what_the_error_says_works():
    np.testing.assert_array_equal(tg.tanh(np.asarray(ROWS)), np.tanh([[1.0, 2.0], [3.0, 4.0]]))
