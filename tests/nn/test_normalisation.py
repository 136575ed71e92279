"""Batch normalisation: the paper's gradients, running statistics, and that only training moves these."""

import copy
import pickle
import re

import numpy as np
import pytest

import tinygrad_dls as tg
from tinygrad_dls import nn
from tinygrad_dls.engine.errors import RecordingError

X, Y = tg.datasets.planar_flower(60)
LOGITS = tg.binary_cross_entropy_with_logits
RNG = np.random.default_rng(0)
Z = RNG.normal(2, 3, (4, 7))
GAMMA, BETA = RNG.normal(size=(2, 4, 1))
EPSILON = 1e-5


def network(dtype=float, **options):
    return nn.Classifier(
        nn.Linear(2, 4, rng=0, dtype=dtype),
        nn.BatchNorm(4, dtype=dtype, **options),
        nn.Tanh(),
        nn.Linear(4, 1, rng=1, dtype=dtype),
    )


def forward(Z, gamma=GAMMA, beta=BETA):
    mu, var = Z.mean(axis=1, keepdims=True), Z.var(axis=1, keepdims=True)
    return gamma * (Z - mu) / np.sqrt(var + EPSILON) + beta


def backward(Z, gamma, dZ_tilde):
    """The gradients as Ioffe and Szegedy (2015, arXiv 1502.03167) print them in section 3, in the course's letters."""
    m = Z.shape[1]
    mu, var = Z.mean(axis=1, keepdims=True), Z.var(axis=1, keepdims=True)
    Z_norm = (Z - mu) / np.sqrt(var + EPSILON)
    dZ_norm = dZ_tilde * gamma
    dvar = np.sum(dZ_norm * (Z - mu) * -1 / 2 * (var + EPSILON) ** (-3 / 2), axis=1, keepdims=True)
    dmu = np.sum(dZ_norm * -1 / np.sqrt(var + EPSILON), axis=1, keepdims=True)
    dmu = dmu + dvar * np.sum(-2 * (Z - mu), axis=1, keepdims=True) / m
    dZ = dZ_norm * 1 / np.sqrt(var + EPSILON) + dvar * 2 * (Z - mu) / m + dmu * 1 / m
    return dZ, np.sum(dZ_tilde * Z_norm, axis=1, keepdims=True), np.sum(dZ_tilde, axis=1, keepdims=True)


def test_the_gradients_are_those_of_the_paper():
    tensors = [tg.Tensor(x, requires_grad=True) for x in (Z, GAMMA, BETA)]
    Z_tilde = tg.batch_norm(*tensors)
    np.testing.assert_allclose(Z_tilde.data, forward(Z), rtol=1e-12)
    dZ_tilde = RNG.normal(size=Z.shape)
    Z_tilde.backward(dZ_tilde)
    for x, expected in zip(tensors, backward(Z, GAMMA, dZ_tilde), strict=True):
        np.testing.assert_allclose(x.grad, expected, rtol=1e-11, atol=1e-14)


def test_the_layer_is_the_function_of_its_parameters():
    layer = nn.BatchNorm(4)
    layer.gamma.data, layer.beta.data = GAMMA, BETA
    np.testing.assert_array_equal(layer(Z).data, tg.batch_norm(Z, GAMMA, BETA))


def test_each_unit_starts_with_mean_0_and_variance_1_over_the_batch():
    Z_tilde = nn.BatchNorm(4)(Z).data
    np.testing.assert_allclose(Z_tilde.mean(axis=1), 0, atol=1e-14)
    np.testing.assert_allclose(Z_tilde.var(axis=1), 1, rtol=1e-4)  # epsilon against the variance


def test_gradcheck_passes_through_a_network():
    report = tg.check.gradcheck(lambda model: LOGITS(model(X), Y), network())
    assert {row.argument for row in report.rows} == {"W1", "b1", "gamma1", "beta1", "W2", "b2"}


def test_a_bias_before_it_gets_no_gradient():
    model = network()
    LOGITS(model(X), Y).backward()
    np.testing.assert_allclose(model.layers[0].b.grad, 0, atol=1e-15)


def test_its_second_derivatives_are_the_slopes_of_the_first():
    vector = RNG.normal(size=Z.shape)

    def cost(Z):
        return np.sum(tg.batch_norm(Z, GAMMA, BETA) ** 3)

    h = 1e-6
    slopes = (tg.grad(cost)(Z + h * vector) - tg.grad(cost)(Z - h * vector)) / (2 * h)
    np.testing.assert_allclose(tg.hvp(cost)(Z, vector), slopes, rtol=1e-6, atol=1e-7)  # h^2, and rounding over h


# -- running statistics -----------------------------------------------------------------------------------------------


def test_running_statistics_are_the_courses_exponentially_weighted_averages():
    layer, mean, var = nn.BatchNorm(4, momentum=0.75), np.zeros((4, 1)), np.ones((4, 1))
    for _ in range(3):
        batch = RNG.normal(size=(4, 9))
        layer(batch)
        mean = 0.75 * mean + 0.25 * batch.mean(axis=1, keepdims=True)
        var = 0.75 * var + 0.25 * batch.var(axis=1, keepdims=True)
    np.testing.assert_allclose(layer.running_mean, mean, rtol=1e-14)
    np.testing.assert_allclose(layer.running_var, var, rtol=1e-14)
    layer.eval()
    expected = (Z - mean) / np.sqrt(var + EPSILON)
    np.testing.assert_allclose(layer(Z).data, expected, rtol=1e-13)


def test_evaluation_takes_a_single_example_and_each_by_itself():
    model = network()
    tg.fit(model, X, Y, loss=LOGITS, optimizer=tg.optim.Adam(model.parameters(), 0.05), epochs=30)
    one_by_one = [model.predict_proba(X[:, i : i + 1]) for i in range(X.shape[1])]
    np.testing.assert_allclose(np.hstack(one_by_one), model.predict_proba(X), rtol=1e-12)


LOOKS = {
    "predict": lambda model: model.predict(X),
    "evaluation": lambda model: (model.eval(), model(X), model.train()),
    "draw": lambda model: tg.draw(model, X),
    "draw with a loss": lambda model: tg.draw(model, X, Y, loss=LOGITS),
    "derive": lambda model: tg.derive(model, X, Y, loss=LOGITS),
    "derive with values": lambda model: tg.derive(model, X, Y, loss=LOGITS, values=True),
    "numpy_source": lambda model: tg.numpy_source(model, X, Y, loss=LOGITS),
    "grad": lambda model: tg.grad(lambda model: LOGITS(model(X), Y))(model),
    "gradcheck": lambda model: tg.check.gradcheck(lambda model: LOGITS(model(X), Y), model),
}


@pytest.mark.parametrize("look", LOOKS)
def test_who_looks_at_a_model_does_not_move_its_statistics(look):
    model = network()
    model(X)
    before = model.state_dict()
    LOOKS[look](model)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_state_dicts_pickles_and_copies_hold_the_running_statistics():
    model = network()
    model(X)
    assert list(model.state_dict()) == ["W1", "b1", "gamma1", "beta1", "W2", "b2", "running_mean1", "running_var1"]
    assert [p.name for p in model.parameters()] == ["W1", "b1", "gamma1", "beta1", "W2", "b2"]
    loaded = network()
    loaded.load_state_dict(model.state_dict())
    for twin in (loaded, pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(twin.predict_proba(X), model.predict_proba(X))
    kept = loaded.state_dict()
    model(X)  # moves the model's own alone
    for name, value in loaded.state_dict().items():
        np.testing.assert_array_equal(value, kept[name])


def test_a_state_without_running_statistics_or_with_others_is_refused_and_changes_nothing():
    model = network()
    model(X)
    before = model.state_dict()
    for state, text in [
        ({k: v for k, v in before.items() if k != "running_mean1"}, "running_mean1 is missing"),
        (before | {"running_var1": np.ones(4)}, "running_var1 is (4,); expected (4, 1)"),
        (before | {"running_var1": np.ones((4, 1), np.float32)}, "running_var1 is float32; expected float64"),
        (before | {"running_var2": np.ones((4, 1))}, "running_var2 is not a parameter of this model"),
    ]:
        with pytest.raises(ValueError, match=re.escape(text)):
            model.load_state_dict(state)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_the_dtype_stays(dtype):
    model = network(dtype)
    J = LOGITS(model(X.astype(dtype)), Y)
    J.backward()
    assert J.dtype == dtype
    assert {x.dtype for x in model.state_dict().values()} == {np.dtype(dtype)}
    assert {p.grad.dtype for p in model.parameters()} == {np.dtype(dtype)}


@pytest.mark.parametrize("scale", [1, 100, 1000, 3000])
@pytest.mark.parametrize("compile", [False, True])
def test_half_precision_is_normalised_whatever_the_size(scale, compile):
    """The variance of numbers of size 256 is infinite in float16, by which all would be 0."""
    Z, wide = (RNG.normal(size=(2, 500)) * scale).astype(np.float16), nn.BatchNorm(2, dtype=np.float32)
    right = tg.batch_norm(Z.astype(float), np.ones((2, 1)), np.zeros((2, 1)))
    run = tg.compile(lambda Z: tg.batch_norm(Z, np.ones((2, 1), np.float16), np.zeros((2, 1), np.float16)))
    got = run(Z) if compile else wide(Z).data
    assert got.dtype == np.float16
    np.testing.assert_allclose(got, right, atol=4e-3)  # of two roundings of numbers up to 4
    if not compile:
        wide.momentum = 0.0
        wide(Z)
        wide.eval()
        np.testing.assert_allclose(wide(Z).data, right, atol=4e-3)


def test_running_statistics_beyond_half_precision_are_no_infinities():
    layer, Z = nn.BatchNorm(2, dtype=np.float16), np.array([[3e3, -3e3], [1.0, 2.0]], np.float16)
    text = r"BatchNorm 2: running_var is beyond 65,504.* dtype=np.float32"
    with pytest.raises(FloatingPointError, match=text), np.errstate(over="ignore"):  # as within fit
        layer(Z)
    assert np.isfinite(layer.running_var).all()


# -- names ------------------------------------------------------------------------------------------------------------


def test_it_has_the_number_of_the_layer_before_it():
    model = nn.Sequential(
        nn.Linear(2, 3, rng=0), nn.BatchNorm(3), nn.Tanh(), nn.Sequential(nn.Linear(3, 3, rng=0), nn.BatchNorm(3)),
        nn.Tanh(), nn.BatchNorm(3), nn.Linear(3, 1, rng=0),
    )  # fmt: skip
    assert [name for name, _ in model.named_parameters()] == [
        "W1", "b1", "gamma1", "beta1", "W2", "b2", "gamma2", "beta2", "gamma3", "beta3", "W4", "b4",
    ]  # fmt: skip
    assert list(model.state_dict())[-2:] == ["running_mean3", "running_var3"]
    Z4 = model(X)
    assert Z4.name == "Z4"


def test_without_another_numbered_layer_it_goes_without_a_number():
    model = nn.Sequential(nn.Linear(2, 3, rng=0), nn.BatchNorm(3))
    assert list(model.state_dict()) == ["W", "b", "gamma", "beta", "running_mean", "running_var"]
    assert model(X).name == "Z_tilde"


def test_a_module_of_ones_own_saves_the_statistics_by_their_paths():
    class Own(nn.Module):
        def __init__(self):
            self.blocks = [nn.BatchNorm(2), nn.BatchNorm(2)]
            self.inner = nn.Sequential(nn.Linear(2, 2, rng=0), nn.BatchNorm(2))

    assert list(Own().state_dict())[-6:] == [
        "blocks.0.running_mean", "blocks.0.running_var", "blocks.1.running_mean", "blocks.1.running_var",
        "inner.running_mean", "inner.running_var",
    ]  # fmt: skip


def test_its_repr_shows_what_it_learns():
    assert repr(nn.BatchNorm(3)) == "BatchNorm 3: 6 parameters (gamma (3, 1), beta (3, 1))"


# -- recorded ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [None, 25])
@pytest.mark.parametrize("optimizer", [lambda ps: tg.optim.SGD(ps, 0.5), lambda ps: tg.optim.Adam(ps, 0.05)])
def test_compiled_training_moves_the_running_statistics_as_eager_training(optimizer, batch_size):
    trained = []
    for compiled in (False, True):
        model = network()
        history = tg.fit(model, X, Y, loss=LOGITS, optimizer=optimizer(model.parameters()), epochs=20, rng=0,
                         batch_size=batch_size, compile=compiled)  # fmt: skip
        trained.append({"costs": history.costs, **model.state_dict()})
    eager, compiled = trained
    for name, value in eager.items():
        noise = 1e-6 if name in ("b1", "running_mean1") else 0  # b1 has no effect but on the mean: Adam steps by noise
        np.testing.assert_allclose(compiled[name], value, rtol=1e-9, atol=noise + 1e-12, err_msg=name)


def test_gradients_are_left_beside_the_statistics():
    model = network()
    step = tg.compile(model, LOGITS, tg.optim.SGD(model.parameters(), 0.0), gradients=True)
    step(X, Y)
    twin = network()
    LOGITS(twin(X), Y).backward()
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        np.testing.assert_allclose(p.grad, q.grad, rtol=1e-11, atol=1e-15)
    np.testing.assert_allclose(model.layers[1].running_mean, twin.layers[1].running_mean, rtol=1e-12)


def test_what_was_handed_out_of_the_statistics_keeps_its_values():
    model = network()
    step = tg.compile(model, LOGITS, tg.optim.SGD(model.parameters(), 0.1))
    step(X, Y)
    held = model.layers[1].running_mean
    before = held.copy()
    step(X, Y)
    np.testing.assert_array_equal(held, before)
    assert not np.array_equal(model.layers[1].running_mean, before)


def test_a_step_sees_statistics_that_are_loaded_and_the_mode():
    model = network()
    step = tg.compile(model, LOGITS, tg.optim.SGD(model.parameters(), 0.0))
    step(X, Y)
    model.load_state_dict(network().state_dict())
    step(X, Y)
    np.testing.assert_allclose(model.layers[1].running_var, 0.9 + 0.1 * Z1_of(network()).var(axis=1, keepdims=True))
    model.eval()
    kept = model.state_dict()
    assert step(X, Y) == pytest.approx(LOGITS(model(X), Y).item(), rel=1e-12)
    np.testing.assert_array_equal(model.layers[1].running_var, kept["running_var1"])


def Z1_of(model):  # noqa: N802  # the course's letter
    return model.layers[0](X).data


def test_a_compiled_step_says_why_it_does_not_tile_in_training_and_tiles_in_evaluation():
    model = network()
    step = tg.compile(model, LOGITS, tg.optim.SGD(model.parameters(), 0.1), tile=16)
    step(X, Y)
    assert re.search(r"Not tiled: .* needs a sum over all examples before it goes on with each of them", step.explain())
    model.eval()
    step(X, Y)
    assert "tiles of 16 examples" in step.explain()


def test_a_step_that_is_recorded_anew_all_the_time_is_none():
    model = network()
    step = tg.compile(model, LOGITS, tg.optim.SGD(model.parameters(), 0.1))
    step(X, Y)
    ready = step._now
    for _ in range(5):
        step(X, Y)
    assert step._now is ready


def test_a_step_that_falls_back_moves_them_once():
    trained = []
    for compiled in (False, True):
        model = nn.Classifier(
            nn.Linear(2, 40, rng=0), nn.BatchNorm(40), nn.Tanh(), nn.Dropout(0.5, rng=0), nn.Linear(40, 1, rng=1)
        )
        optimizer = tg.optim.SGD(model.parameters(), 0.1)
        options = {"compile": {"fallback": True}} if compiled else {}
        tg.fit(model, X, Y, loss=LOGITS, optimizer=optimizer, epochs=3, **options)
        trained.append(model.state_dict())
    for name, value in trained[0].items():
        np.testing.assert_array_equal(trained[1][name], value)


def test_a_compiled_function_refuses_to_move_them_and_evaluates():
    model = network()
    before = model.state_dict()
    with pytest.raises(RecordingError, match=r"BatchNorm\.running_mean"):
        tg.compile(lambda X: model(X).data)(X)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    model.eval()
    np.testing.assert_allclose(tg.compile(lambda X: model(X).data)(X), model(X).data, rtol=1e-12)


def test_the_code_of_a_step_takes_and_returns_the_statistics():
    source = tg.numpy_source(network(), X, Y, loss=LOGITS)
    assert "b2, running_mean1, running_var1, *, m):" in source
    assert "running_mean1 = 0.9 * running_mean1 + " in source
    assert source.rstrip().endswith("dW2, db2, running_mean1, running_var1")
    namespace = {}
    exec(source, namespace)
    model = network()
    *_, mean, var = namespace["step"](X, Y, **model.state_dict(), m=X.shape[1])
    model(X)
    np.testing.assert_allclose(mean, model.layers[1].running_mean, rtol=1e-13)
    np.testing.assert_allclose(var, model.layers[1].running_var, rtol=1e-13)


def test_a_derivation_goes_through_the_mean_and_the_variance():
    formulas = tg.derive(network(epsilon=0.001), X, Y, loss=LOGITS).formulas
    assert formulas["Z_norm1"] == "(Z1 - mu1) / np.sqrt(var1 + 0.001)"
    assert formulas["Z_tilde1"] == "gamma1 * Z_norm1 + beta1"
    assert formulas["dZ_norm1"] == "dZ_tilde1 * gamma1"
    assert formulas["dZ1"] == "dZ_norm1 / np.sqrt(var1 + 0.001) + dmu1 / m + dvar1 * 2 / m * (Z1 - mu1)"
    assert formulas["dgamma1"] == "np.sum(dZ_tilde1 * Z_norm1, axis=1, keepdims=True)"


def test_a_derivation_in_evaluation_names_the_running_statistics():
    model = network(epsilon=0.001)
    model.eval()
    derivation = tg.derive(model, X, Y, loss=LOGITS, values=True)
    assert derivation.formulas["Z_norm1"] == "(Z1 - running_mean1) / np.sqrt(running_var1 + 0.001)"
    of_graph = tg.derive(LOGITS(model(X), Y))
    assert of_graph.formulas["Z_norm1"] == "(Z1 - running_mean1) / running_sigma1"


def test_a_picture_shows_its_steps_in_its_frame():
    source = tg.draw(network(), X).source
    assert "BatchNorm 4" in source
    assert "Z_norm1" in source


def test_the_names_of_a_network_that_is_written_out_lead_on_from_it():
    W1, W2 = (
        tg.Tensor(RNG.normal(size=shape), requires_grad=True, name=f"W{i}") for i, shape in ((1, (4, 2)), (2, (1, 4)))
    )
    gamma, beta = (tg.Tensor(x, requires_grad=True, name=name) for x, name in ((GAMMA, "gamma1"), (BETA, "beta1")))
    A1 = np.tanh(tg.batch_norm(W1 @ X, gamma, beta))
    formulas = tg.derive(LOGITS(W2 @ A1, Y)).formulas
    assert formulas["A1"] == "np.tanh(Z_tilde1)"
    assert formulas["dW2"].endswith("@ A1.T")


# -- errors -----------------------------------------------------------------------------------------------------------

LAYER = nn.BatchNorm(4)


def shaped(x):
    layer = nn.BatchNorm(4)
    layer.running_mean = x
    layer.eval()
    return layer(Z)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: network()(X[:, :1]),
         "layer1 (BatchNorm 4): a batch of 1 example has no variance to be normalised by; training takes 2 or more. "
         "Take a batch_size that leaves no single example, or evaluate: model.eval(), and predict, use the running"),
        (lambda: LAYER(np.ones((4, 0))), "BatchNorm 4: a batch of 0 examples has no variance"),
        (lambda: tg.batch_norm(np.ones((4, 1)), GAMMA, BETA), "batch_norm: a batch of 1 example has no variance"),
        (lambda: LAYER(Z.T), "BatchNorm 4: Z is (7, 4); expected (4, m). Did you pass Z transposed?"),
        (lambda: LAYER(np.ones((3, 7))), "BatchNorm 4: Z is (3, 7); expected (4, m). Is the layer before it of"),
        (lambda: LAYER(np.ones(4)), "BatchNorm 4: Z is (4,); expected (4, m). Examples are columns: write Z.resh"),
        (lambda: LAYER(np.ones((7, 2, 2))), "BatchNorm 4: Z is (7, 2, 2); expected (4, m). Examples are columns: "),
        (lambda: tg.batch_norm(np.ones(4), GAMMA, BETA), "batch_norm: Z is (4,); expected (n, m), with the examples"),
        (lambda: tg.batch_norm(Z, GAMMA.T, BETA), "batch_norm: Z is (4, 7), gamma is (1, 4); expected (4, 1)."),
        (lambda: tg.batch_norm(Z, GAMMA, BETA[:, 0]), "batch_norm: Z is (4, 7), beta is (4,); expected (4, 1)."),
        (lambda: tg.batch_norm(Z, GAMMA, BETA, epsilon=0), "batch_norm: epsilon must be a finite number > 0, got 0."),
        (lambda: nn.BatchNorm(0), "BatchNorm: n must be a positive integer, got 0."),
        (lambda: nn.BatchNorm(4, momentum=1), "BatchNorm: momentum must be in [0, 1), got 1."),
        (lambda: nn.BatchNorm(4, epsilon=-1), "BatchNorm: epsilon must be a finite number > 0, got -1."),
        (lambda: nn.BatchNorm(4, dtype=int), "BatchNorm: dtype must be a floating dtype"),
        (lambda: shaped(np.zeros(4)), "BatchNorm 4: running_mean is (4,); expected (4, 1)."),
        (lambda: tg.fit(m := network(), X, Y, loss=LOGITS, optimizer=tg.optim.Adam(m.parameters()), epochs=1, rng=0,
                        batch_size=59),
         "a batch of 1 example has no variance"),
    ],
)  # fmt: skip
def test_errors(call, text):
    with pytest.raises((TypeError, ValueError), match=re.escape(text)):
        call()
