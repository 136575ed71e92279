"""`Module.summary`: what stands in the table, for all layers and users' modules, and that nothing is changed by it."""

import copy
import random
import threading
from abc import ABCMeta
from collections import namedtuple

import numpy as np
import pandas as pd
import pytest

import tinygrad_dls as tg
from tests.views.markup import rows_of, text_of
from tinygrad_dls import nn
from tinygrad_dls.nn.summary import Output

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 6))
Y = np.array([[0, 1, 1, 0, 1, 0]])

SEVERAL = """\
Classifier: X (2, m) -> A2 (3, m), m = 6
layer   kind            parameters                   count  gives              bytes
        Standardizer 2                                      X_norm (2, m)         96
layer1  Linear 2 -> 8   W1 (8, 2) frozen, b1 (8, 1)     24  Z1 (8, m)            384
layer1  BatchNorm 8     gamma1 (8, 1), beta1 (8, 1)     16  Z_tilde1 (8, m)      384
        tanh                                                A1 (8, m)            384
        Dropout 0.8                                         A1 (8, m)
layer2  Linear 8 -> 3   W2 (3, 8), b2 (3, 1)            27  Z2 (3, m)            144
        Softmax                                             A2 (3, m)            144
67 parameters (16 frozen), 536 bytes of float64
4 arrays beside them (running_mean1, running_var1, mean0, scale0), 160 bytes
1,536 bytes of activations, as the layers give them"""


def several():
    model = nn.Classifier(
        nn.Standardizer.of(X), nn.Linear(2, 8, rng=0), nn.BatchNorm(8), np.tanh, nn.Dropout(0.8, rng=1),
        nn.Linear(8, 3, rng=2), nn.Softmax(),
    )  # fmt: skip
    model.layers[1].W.requires_grad = False
    return model


def squeezed(text):
    return [line.split() for line in text.splitlines()]


def test_a_summary_is_a_table_of_the_layers():
    assert squeezed(repr(several().summary(X))) == squeezed(SEVERAL)
    lines = repr(several().summary(X)).splitlines()
    assert len({len(line) for line in lines[1:-3] if line.rstrip().endswith(("bytes", "4", "6"))}) == 1  # aligned


LAYERS = {
    "Linear": (lambda: nn.Linear(2, 3, rng=0), 9, (3, "m"), 144),
    "Tanh": (nn.Tanh, 0, (2, "m"), 96),
    "Sigmoid": (nn.Sigmoid, 0, (2, "m"), 96),
    "ReLU": (nn.ReLU, 0, (2, "m"), 96),
    "Softmax": (nn.Softmax, 0, (2, "m"), 96),
    "Dropout": (lambda: nn.Dropout(0.5, rng=0), 0, (2, "m"), 0),  # in evaluation, it passes X on
    "BatchNorm": (lambda: nn.BatchNorm(2), 4, (2, "m"), 96),
    "Standardizer": (lambda: nn.Standardizer.of(X), 0, (2, "m"), 96),
    "Unstandardizer": (lambda: nn.Standardizer.of(X).inverse(), 0, (2, "m"), 96),
}
MODELS = {
    "LogisticRegression": (lambda: nn.LogisticRegression(2), 3, (1, "m"), 48),
    "TwoLayerNetwork": (lambda: nn.TwoLayerNetwork(2, 4, 3, rng=0), 27, (3, "m"), 192 + 192 + 144),
    "Sequential": (lambda: nn.Sequential(nn.Linear(2, 1, rng=0), tg.sigmoid), 3, (1, "m"), 48 + 48),
    "Classifier": (lambda: nn.Classifier(nn.Linear(2, 1, rng=0), nn.Sigmoid()), 3, (1, "m"), 48 + 48),
}


@pytest.mark.parametrize("name", [*LAYERS, *MODELS])
def test_every_layer_and_every_model_has_its_counts_and_shapes(name):
    make, count, shape, size = (LAYERS | MODELS)[name]
    model = make()
    summary = model.summary(X)
    assert summary.inputs == (Output("X", (2, "m"), 0),)
    assert (summary.m, summary.count, summary.activation_bytes) == (6, count, size)
    assert summary.outputs[-1].shape == shape
    assert summary.count == sum(p.size for p in model.parameters())
    assert summary.bytes == 8 * count
    if name in LAYERS:
        (layer,) = summary.layers
        assert (layer.kind, layer.count) == (model._describe(), count)
        assert [output.shape for output in layer.outputs] == [shape]


def test_every_layer_of_the_package_is_in_these_tests():
    layers = {name for name in nn.__all__ if isinstance(getattr(nn, name), type)} - {"Module", "Parameter"}
    assert layers <= {*LAYERS, *MODELS}


@pytest.mark.parametrize("name", [*LAYERS, *MODELS])
def test_what_is_known_without_a_run_is_what_a_run_gives(name):
    if name in ("Tanh", "Sigmoid", "ReLU", "Softmax", "Dropout"):
        make, known = LAYERS[name][0], nn.Sequential(nn.Linear(2, 5, rng=0), LAYERS[name][0]())
        assert make().summary().layers[0].outputs == ()
    else:
        known = (LAYERS | MODELS)[name][0]()
    without, ran = (x.layers for x in (known.summary(), known.summary(X)))
    assert [layer.kind for layer in without] == [layer.kind for layer in ran]
    for one, other in zip(without, ran, strict=True):
        assert [x.shape for x in one.outputs] == [x.shape for x in other.outputs]
        if len(ran) > 1:
            assert [x.name for x in one.outputs] == [x.name for x in other.outputs]


def test_without_inputs_nothing_runs():
    class Loud(nn.Module):
        def __call__(self, x):
            raise AssertionError("it ran")

    model = nn.Sequential(nn.Linear(2, 3, rng=0), Loud(), np.tanh, nn.Linear(3, 1, rng=0), lambda z: z)
    summary = model.summary()
    assert [[x.shape for x in layer.outputs] for layer in summary.layers] == [[(3, "m")], [], [], [(1, "m")], []]
    assert (summary.inputs, summary.outputs, summary.m, summary.activation_bytes) == ((), (), None, 0)
    assert repr(summary).splitlines()[0] == "Sequential"
    assert "activations" not in repr(summary)
    assert text_of(model._repr_html_()) == text_of(summary._repr_html_())


def test_what_is_known_of_a_users_module_is_what_our_layers_in_it_give():
    found = {layer.kind: layer.cells[-2] for layer in Residual().summary().layers}
    assert found == {"Residual": "", "Sequential": "Z2 (2, m)", "Linear 2 -> 3": "Z1 (3, m)", "tanh": "A1 (3, m)",
                     "Linear 3 -> 2": "Z2 (2, m)", "Linear 2 -> 2": "(2, m)"}  # fmt: skip


def test_what_a_sequential_calls_the_whole_is_not_the_name_of_its_parts():
    layers = nn.Sequential(nn.Linear(2, 2, rng=0), Residual(), nn.Linear(2, 1, rng=0)).summary().layers
    assert [x.cells[-2] for x in layers if x.name == "branches.0"] == ["(2, m)"]


def test_nothing_is_claimed_of_a_class_that_says_anew_what_it_gives():
    class Doubled(nn.Linear):
        def __call__(self, a):
            return np.concatenate([super().__call__(a)] * 2)

    class Mine(nn.TwoLayerNetwork):
        pass

    (layer,) = Doubled(2, 3, rng=0).summary().layers
    assert layer.outputs == ()
    assert Doubled(2, 3, rng=0).summary(X).title == "Doubled: X (2, m) -> (6, m), m = 6"
    assert [x.cells[4] for x in Mine(2, 4, rng=0).summary().layers] == ["Z1 (4, m)", "A1 (4, m)", "Z2 (1, m)"]


def test_float32_takes_half_the_bytes():
    model = nn.TwoLayerNetwork(2, 4, rng=0, dtype=np.float32)
    summary = model.summary(X.astype(np.float32))
    assert (summary.bytes, summary.activation_bytes, summary.dtypes) == (17 * 4, 6 * 9 * 4, ("float32",))


def test_the_view_has_the_table_of_the_text():
    summary = several().summary(X)
    html = summary._repr_html_()
    assert [[x.strip() for x in row] for row in rows_of(html)] == [list(row) for row in summary.rows]
    for line in (summary.title, *summary.totals):
        assert line in text_of(html)


# -- a user's own modules ---------------------------------------------------------------------------------------------


class Residual(nn.Module):
    def __init__(self):
        self.inner = nn.Sequential(nn.Linear(2, 3, rng=0), np.tanh, nn.Linear(3, 2, rng=0))
        self.gain = nn.Parameter(np.ones((1, 1)))
        self.branches = [nn.Linear(2, 2, rng=0), nn.Linear(2, 2, rng=0)]

    def __call__(self, a):
        return a + self.gain * self.inner(a) + self.branches[0](a)


def test_a_users_module_is_a_tree_with_what_its_parts_give():
    summary = Residual().summary(X)
    found = [(x.depth, x.name, x.kind, x.count, x.cells[4], x.bytes) for x in summary.layers]
    assert found == [
        (0, "", "Residual", 1, "(2, m)", 96),
        (1, "inner", "Sequential", 0, "Z2 (2, m)", 0),
        (2, "layer1", "Linear 2 -> 3", 9, "Z1 (3, m)", 144),
        (2, "", "tanh", 0, "A1 (3, m)", 144),
        (2, "layer2", "Linear 3 -> 2", 8, "Z2 (2, m)", 96),
        (1, "branches.0", "Linear 2 -> 2", 6, "(2, m)", 96),
        (1, "branches.1", "Linear 2 -> 2", 6, "not called", 0),
    ]
    assert summary.title == "Residual: X (2, m) -> (2, m), m = 6"
    lines = repr(summary).splitlines()
    depths = [lines[n].index(kind) for n, kind in ((2, "Residual"), (3, "Sequential"), (4, "Linear"), (7, "Linear"))]
    assert [depth - depths[0] for depth in depths] == [0, 2, 4, 2]
    assert summary.activation_bytes == 96 + 144 + 144 + 96 + 96


def test_a_shared_layer_is_one_row_with_all_that_it_gave():
    layer, act = nn.Linear(2, 2, rng=0), nn.Tanh()
    summary = nn.Sequential(layer, act, layer, act, nn.Linear(2, 1, rng=0)).summary(X)
    assert [x.kind for x in summary.layers] == ["Linear 2 -> 2", "Tanh", "Linear 2 -> 1"]
    assert len(summary.layers[0].outputs) == 2
    assert summary.layers[0].bytes == 2 * 96
    assert summary.count == 6 + 3


def test_a_function_that_stands_twice_has_two_rows():
    model = nn.Sequential(nn.Linear(2, 3, rng=0), np.tanh, nn.Linear(3, 4, rng=0), np.tanh, nn.Linear(4, 1, rng=0))
    assert [x.cells[4] for x in model.summary(X).layers if x.kind == "tanh"] == ["A1 (3, m)", "A2 (4, m)"]
    assert repr(model).count("\n  tanh") == 2


def test_a_sequential_that_calls_its_layers_itself():
    class Skipping(nn.Sequential):
        def __call__(self, x):
            for layer in self.layers[1:]:
                x = layer(x)
            return x

    found = Skipping(nn.Linear(2, 2, rng=0), np.tanh, nn.Linear(2, 1, rng=0)).summary(X).layers
    assert [x.cells[4] for x in found] == ["not called", "A1 (2, m)", "Z2 (1, m)"]


def test_several_inputs_and_several_outputs():
    Pair = namedtuple("Pair", "left right")

    class Two(nn.Module):
        def __init__(self):
            self.left, self.right = nn.Linear(2, 3, rng=0), nn.Linear(1, 4, rng=0)

        def __call__(self, x, y):
            return Pair(self.left(x), {"right": [self.right(y), None, "text"]})

    summary = Two().summary(X, Y)
    assert summary.title == "Two: X1 (2, m), X2 (1, m) -> (3, m), (4, m), m = 6"


def test_examples_that_are_no_columns_have_their_numbers():
    class Flat(nn.Module):
        def __call__(self, x):
            return x.reshape(-1)

    assert Flat().summary(X).title == "Flat: X (2, m) -> (12,), m = 6"
    assert Flat().summary(np.ones((2, 3, 4))).title == "Flat: X (2, 3, 4) -> (24,)"


def test_a_model_that_returns_no_array_says_so():
    class Nothing(nn.Module):
        def __call__(self, x):
            return None

    assert Nothing().summary(X).title == "Nothing: X (2, m) -> no array, m = 6"


def test_a_layer_whose_array_is_passed_on_keeps_its_name():
    model = nn.Sequential(nn.Linear(2, 3, rng=0), nn.Dropout(0.5, rng=0), nn.Linear(3, 1, rng=0))
    assert [x.cells[4] for x in model.summary(X).layers] == ["Z1 (3, m)", "A1 (3, m)", "Z2 (1, m)"]


def test_a_class_with_slots_or_a_metaclass_is_a_module_too():
    class Slotted(nn.Linear):
        __slots__ = ("more",)

    class Abstract(nn.Linear, metaclass=ABCMeta):
        pass

    for kind in (Slotted, Abstract):
        (layer,) = kind(2, 1, rng=0).summary(X).layers
        assert [x.shape for x in layer.outputs] == [(1, "m")]


def test_a_single_example_and_a_list_and_a_dataframe_are_taken():
    assert several().summary(X[:, :1]).m == 1  # BatchNorm would refuse it in training
    assert nn.Linear(2, 1, rng=0).summary([[1.0, 2.0], [3.0, 4.0]]).title == "Linear: X (2, m) -> (1, m), m = 2"
    frame = pd.DataFrame(X.T, columns=["a", "b"])
    model = nn.Sequential(nn.Standardizer.of(frame), nn.Linear(2, 1, rng=0))
    assert model.summary(frame).title == "Sequential: X (2, m) -> Z (1, m), m = 6"


# -- nothing is changed -----------------------------------------------------------------------------------------------


class Forgetful(nn.Module):
    """What a user's module may do while it runs."""

    def __init__(self):
        self.layer = nn.Linear(2, 2, rng=0)
        self.norm = nn.BatchNorm(2)
        self.drop = nn.Dropout(0.5, rng=1)
        self.rng = np.random.default_rng(2)
        self.old = np.random.RandomState(3)
        self.rngs = {"one": [np.random.default_rng(4)]}
        self.calls, self.log, self.cache, self.total = 0, [], {"Z": None}, np.zeros(2)
        self.lock = threading.Lock()

    def __call__(self, x):
        with self.lock:
            self.calls += 1
        z = self.drop(self.norm(self.layer(x)))
        self.log.append(z)
        self.cache["Z"] = self.z = z
        self.total += 1
        noise = self.rng.normal() + self.old.rand() + self.rngs["one"][0].normal() + np.random.rand() + random.random()
        return z + noise


def state(model):
    everything = {k: v for k, v in vars(model).items() if k not in ("lock", "layer", "norm", "drop")}
    rngs = [model.rng, model.rngs["one"][0], model.drop.rng]
    return repr([
        model.state_dict(), copy.copy(everything), [r.bit_generator.state for r in rngs], model.old.get_state(),
        np.random.get_state(), random.getstate(), [m.training for m in model.modules()],
        [(p.name, p.grad, p.requires_grad) for p in model.parameters()], [type(m) for m in model.modules()],
        [m.name for m in model.modules()],
    ])  # fmt: skip


@pytest.mark.parametrize("training", [True, False])
def test_a_summary_changes_nothing(training):
    model = Forgetful()
    np.sum(model(X)).backward()
    del model.z
    model.log.clear()
    model.cache["Z"] = None
    if not training:
        model.eval()
    before = state(model)
    model.summary(X)
    assert state(model) == before
    model.summary()
    model._repr_html_()
    assert state(model) == before


def test_training_goes_on_as_if_there_had_been_no_summary():
    costs = []
    for looks in (False, True):
        model = nn.Sequential(nn.Linear(2, 3, rng=0), nn.BatchNorm(3), nn.Dropout(0.5, rng=1), nn.Linear(3, 1, rng=2))
        optimizer = tg.optim.Adam(model.parameters())
        for _ in range(5):
            J = tg.binary_cross_entropy_with_logits(model(X), Y)
            if looks:
                model.summary(X)
            optimizer.zero_grad()
            J.backward()
            optimizer.step()
            costs.append(J.item())
    assert costs[:5] == costs[5:]


def test_a_compiled_step_goes_on_without_recording_anew():
    model = nn.TwoLayerNetwork(2, 4, rng=0)
    step = tg.compile(model, tg.binary_cross_entropy_with_logits, tg.optim.SGD(model.parameters(), lr=0.1))
    step(X, Y)
    program = step._now
    model.summary(X)
    step(X, Y)
    assert step._now is program


def test_a_class_that_lists_its_subclasses_hears_of_none():
    known = []

    class Listed(nn.Module):
        def __init_subclass__(cls, *, kind=None, **options):
            super().__init_subclass__(**options)
            known.append(cls)

    class Mine(Listed, kind="mine"):
        def __call__(self, x):
            assert type(self).__name__ == "Mine"
            return super().__call__(x) if x is None else x

    Mine().summary(X)
    assert known == [Mine]


# -- what does not fit ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: nn.TwoLayerNetwork(2, 4, rng=0).summary(X.T), ValueError, r"layer1 .* X is \(6, 2\); expected X"),
        (lambda: nn.TwoLayerNetwork(2, 4, rng=0).summary("X"), TypeError, "X has dtype <U1"),
        (lambda: nn.TwoLayerNetwork(2, 4, rng=0).summary(X, Y), TypeError,
         "^summary: TwoLayerNetwork does not take 2 inputs: too many positional arguments.$"),
        (lambda: Residual().summary(X[:1]), ValueError, r"layer1 \(Linear 2 -> 3\): W is \(3, 2\), X is \(1, 6\)"),
        (lambda: nn.Module().summary(X), NotImplementedError, "Module does not define __call__"),
    ],
)  # fmt: skip
def test_inputs_that_do_not_fit_get_the_models_own_error(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_an_attribute_called_summary_is_refused():
    with pytest.raises(AttributeError, match="is a method of every module"):
        nn.Tanh().summary = "short"
