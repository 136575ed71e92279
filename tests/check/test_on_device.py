"""Checks of gradients that were computed on a device are made on the host, where their numbers are taken by name."""

import numpy as np
import pytest

import tinygrad_dls as tg

BCE = tg.binary_cross_entropy_with_logits
X, Y = tg.datasets.planar_flower()
X, Y = X[:, ::20].copy(), Y[:, ::20].astype(float)


def model_of(move):
    model = tg.nn.TwoLayerNetwork(2, 3, rng=0, init=tg.init.xavier)
    model.to(move)
    return model


def gradients_of(move, model):
    BCE(model(move(X)), move(Y)).backward()
    return {f"d{name}": p.grad for name, p in model.named_parameters()}


def test_gradcheck_of_arrays_and_of_a_model(device):
    def f(W, x):
        return np.sum(np.tanh(W @ x))

    W, x = np.array([[0.5, -1.0]]), np.array([[1.0], [2.0]])
    found = tg.check.gradcheck(f, (device.array(W), device.array(x)))
    assert str(found) == str(tg.check.gradcheck(f, (W, x)))
    assert found.complete
    model = model_of(device.array)
    tg.check.gradcheck(lambda model: np.sum(model.parameters()[0] ** 2), model)
    assert type(model.parameters()[0].data) is device.kind


def test_gradcheck_finds_a_wrong_rule(device):
    @tg.op()
    def wrong(x):
        return x * x, (lambda dz: dz * 3 * x,)

    with pytest.raises(tg.check.GradientError, match="wrong"):
        tg.check.gradcheck(wrong, device.array(np.array([1.0, 2.0])))


def test_diagnose_of_gradients_on_a_device(device):
    model = model_of(device.array)
    gradients = gradients_of(device.array, model)
    gradients["dW1"] = gradients["dW1"] * X.shape[1]
    expected = gradients_of(np.array, host := model_of(np.array))
    expected["dW1"] = expected["dW1"] * X.shape[1]
    found = tg.check.diagnose(model, device.array(X), device.array(Y), gradients, loss=BCE)
    right = tg.check.diagnose(host, X, Y, expected, loss=BCE)
    assert str(found) == str(right)
    assert "dW1" in str(found)


@pytest.mark.parametrize("make", [lambda p: tg.optim.SGD(p, lr=0.1, momentum=0.9), lambda p: tg.optim.Adam(p)])
def test_diagnose_update_of_a_step_on_a_device(device, make):
    said = []
    for move in (device.array, np.array):
        model = model_of(move)
        optimizer = make(model.parameters())
        tg.optim.eager_step(model, BCE, optimizer, move(X), move(Y))
        before, gradients = model.state_dict(), gradients_of(move, model)
        after = {name: x - 0.1 * gradients[f"d{name}"] for name, x in before.items()}
        said.append(str(tg.check.diagnose_update(model, before, gradients, after, optimizer)))
    assert said[0] == said[1]


def infinite(x):
    np.sum(np.log(x))


def infinite_going_back(x):
    np.sum(np.sqrt(x * x)).backward()


def infinite_as_a_sum(x):
    (np.sum(x) + np.sum(x)).backward(1e308)


@pytest.mark.parametrize("run", [infinite, infinite_going_back, infinite_as_a_sum])
def test_detect_anomaly_names_the_op(device, run):
    said = []
    for move in (device.array, np.array):
        x = tg.Tensor(move(np.array([[1.0, -1.0, 0.0]])), requires_grad=True, name="x")
        with np.errstate(all="ignore"), tg.detect_anomaly(), pytest.raises(tg.AnomalyError) as error:
            run(x)
        said.append(str(error.value))
    assert said[0] == said[1]
