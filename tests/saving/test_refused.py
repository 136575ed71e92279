"""What does not fit, cannot be saved, or is missing: the error lists it, and nothing is changed or written."""

import copy
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.bad_input.corruptions import arrays_instead
from tinygrad_dls import nn, optim
from tinygrad_dls.saving import container
from tinygrad_dls.saving.attributes import other_attributes

X, Y = tg.datasets.planar_flower(30)
LOGITS = tg.binary_cross_entropy_with_logits
ROOT = Path(tg.__file__).parents[1]


def network(**given):
    """A network and its optimizer; what a case does otherwise is given."""
    layers = {
        "standardizer": nn.Standardizer.of(X, features=["age", "income"]),
        "first": nn.Linear(2, 4, rng=0),
        "norm": nn.BatchNorm(4),
        "activation": nn.Tanh(),
        "dropout": nn.Dropout(0.8, rng=0),
        "last": nn.Linear(4, 1, rng=1),
    }
    return nn.Classifier(*(layer for layer in (layers | given).values() if layer is not None))


def momentum(model, lr=0.1, **options):
    return optim.SGD(model.parameters(), lr, **({"momentum": 0.9} | options))


@pytest.fixture
def path(tmp_path):
    model = network()
    optimizer = momentum(model)
    tg.fit(model, X, Y, loss=LOGITS, optimizer=optimizer, epochs=2)
    tg.save(tmp_path / "model", model, optimizer)
    return tmp_path / "model"


OTHER_MODELS = {
    "size": ({"first": nn.Linear(2, 5, rng=0), "norm": nn.BatchNorm(5), "last": nn.Linear(5, 1, rng=0)},
             [r"W1 is \(4, 2\); expected \(5, 2\)", r"b1 is \(4, 1\); expected \(5, 1\)", "gamma1 is",
              r"W2 is \(1, 4\)", "running_mean1 is"]),
    "dtype": ({"first": nn.Linear(2, 4, rng=0, dtype=np.float32)},
              ["W1 is float64; expected float32", "b1 is float64; expected float32"]),
    "no normalisation": ({"norm": None}, ["gamma1 is not a parameter of this model", "running_var1 is not",
                                          "the model has 6 layers; here it has 5"]),
    "activation": ({"activation": nn.ReLU()}, [r"layers\.3 is Tanh; here it is ReLU"]),
    "function": ({"activation": np.tanh}, [r"layers\.3 is Tanh; here it is numpy\.tanh"]),
    "settings": ({"dropout": nn.Dropout(0.7, rng=0), "norm": nn.BatchNorm(4, momentum=0.8, epsilon=0.1)},
                 [r"keep_prob of layers\.4 is 0\.8; here it is 0\.7", r"momentum of layers\.2 is 0\.9; here it is 0\.8",
                  r"epsilon of layers\.2 is 1e-05; here it is 0\.1"]),
    "generator": ({"dropout": nn.Dropout(0.8, rng=np.random.RandomState(0))},
                  [r"layers\.4\.rng is Generator\(PCG64\); here it is RandomState\(MT19937\)"]),
    "features": ({"standardizer": nn.Standardizer(2, features=["income", "age"])},
                 [r"the features of layers\.0 are age, income; here they are income, age"]),
    "no standardizer": ({"standardizer": None}, ["mean0 is not a parameter of this model", "scale0 is not"]),
}  # fmt: skip


@pytest.mark.parametrize("case", OTHER_MODELS)
def test_all_differences_of_another_model_are_listed_and_nothing_is_changed(path, case):
    given, differences = OTHER_MODELS[case]
    model = network(**given)
    before = pickle.dumps(model)
    with pytest.raises(
        ValueError, match=r"does not fit: .* Make the model as it was made when it was saved\."
    ) as error:
        tg.load(path, model)
    for difference in differences:
        assert error.match(difference)
    assert pickle.dumps(model) == before


OTHER_OPTIMIZERS = {
    "class": (lambda m: optim.Adam(m.parameters()), "its optimizer is SGD; here it is Adam"),
    "rate": (lambda m: momentum(m, 0.2), r"lr of the optimizer is 0\.1; here it is 0\.2"),
    "schedule": (
        lambda m: momentum(m, optim.cosine_decay(0.1, steps=9)),
        r"lr of the optimizer is 0\.1; here it is cosine_decay\(lr=0\.1, steps=9\)",
    ),
    "function": (
        lambda m: momentum(m, lambda step: 0.1),
        r"lr of the optimizer is 0\.1; here it is the function .*lambda",
    ),
    "two": (
        lambda m: momentum(m, weight_decay=0.1, clip_norm=1.0),
        r"clip_norm of the optimizer is None; here it is 1\.0; weight_decay of the optimizer is 0\.0; here it is 0\.1",
    ),
    "no momentum": (lambda m: momentum(m, momentum=0), r"momentum of the optimizer is 0\.9; here it is 0"),
    "fewer": (
        lambda m: optim.SGD(m.parameters()[:2], 0.1, momentum=0.9),
        r"updates W1, b1, .*; here it updates W1, b1\.",
    ),
    "another model's": (lambda m: momentum(network()), r"here it updates another model's W1, another"),
    "attribute": (lambda m: with_attribute(momentum(m)), "the optimizer has note here alone"),
}


def with_attribute(optimizer):
    optimizer.note = "mine"
    return optimizer


@pytest.mark.parametrize("case", OTHER_OPTIMIZERS)
def test_all_differences_of_another_optimizer_are_listed_and_nothing_is_changed(path, case):
    make, difference = OTHER_OPTIMIZERS[case]
    model = network()
    optimizer = make(model)
    before = model.state_dict()
    with pytest.raises(ValueError, match=difference) as error:
        tg.load(path, model, optimizer)
    assert error.match("or leave that out: load makes one of ours as it was, for you to change")
    assert optimizer.steps == 0
    for name, x in model.state_dict().items():
        np.testing.assert_array_equal(x, before[name])


def test_a_rate_that_was_changed_by_hand_comes_with_the_optimizer_that_load_makes(tmp_path):
    model = network()
    optimizer = momentum(model)
    optimizer.lr *= 0.5
    tg.save(tmp_path / "model", model, optimizer)
    with pytest.raises(ValueError, match=r"lr of the optimizer is 0\.05; here it is 0\.1"):
        tg.load(tmp_path / "model", model := network(), momentum(model))
    assert tg.load(tmp_path / "model", model).optimizer.lr == 0.05


def test_frozen_parameters_are_a_difference_for_an_optimizer_alone(path):
    model = network()
    model.layers[1].W.requires_grad = False
    with pytest.raises(ValueError, match=r"W1 is not frozen; here it is frozen"):
        tg.load(path, model, momentum(model))
    saved = tg.load(path, model)
    assert not model.layers[1].W.requires_grad
    with pytest.raises(
        ValueError, match=r"does not make the SGD that was saved: W1 is not frozen; here it is frozen\."
    ):
        saved.optimizer  # noqa: B018


def test_generators_that_are_shared_otherwise_are_a_difference(tmp_path):
    def model(*seeds):
        return nn.Sequential(nn.Linear(2, 3, rng=0), *(nn.Dropout(0.5, rng=seed) for seed in seeds))

    rng = np.random.default_rng(0)
    for one, other in ((model(rng, rng), model(0, 0)), (model(0, 1), model(rng, rng))):
        tg.save(tmp_path / "model", one)
        with pytest.raises(
            ValueError, match="layers that share a random generator do not share one in the file, or the"
        ):
            tg.load(tmp_path / "model", other)


def test_what_rows_of_logits_are_comes_with_the_weights(tmp_path):
    """Else several sigmoids would be a softmax, in silence."""
    labels = np.vstack([Y, 1 - Y])
    labels[0, :3] = labels[1, :3] = 1

    class Mine(nn.Classifier):
        pass

    for kind in (nn.Classifier, Mine):
        model, other = kind(nn.Linear(2, 2, rng=0)), kind(nn.Linear(2, 2, rng=1))
        tg.fit(model, X, labels, loss=LOGITS, optimizer=optim.SGD(model.parameters(), 0.1), epochs=1)
        tg.save(tmp_path / "model", model)
        tg.load(tmp_path / "model", other)
        np.testing.assert_array_equal(other.predict_proba(X), model.predict_proba(X))
        np.testing.assert_array_equal(other.predict(X), model.predict(X))


def test_names_of_features_come_with_the_standardizer(path):
    model = network(standardizer=nn.Standardizer(2))
    tg.load(path, model)
    assert model.layers[0].features == ("age", "income")
    assert tg.load(path).model.layers[0].features == ("age", "income")


# -- models that a file alone does not make ---------------------------------------------------------------------------


class Mine(nn.Module):
    def __init__(self):
        self.inner = nn.Linear(2, 1, rng=0)
        self.noise = {"rng": [np.random.default_rng(1)]}

    def __call__(self, X):
        return self.inner(X)


def tied():
    model = nn.Sequential(nn.Linear(2, 2, rng=0), nn.Tanh(), nn.Linear(2, 2, rng=1))
    model.layers[2].W = model.layers[0].W
    return model


def with_classes():
    model = nn.LogisticRegression(2)
    model.classes = ("no", "yes")
    return model


def bent(z):
    return np.tanh(z) + z


NOT_MADE = {
    "a module": (Mine, "holds a Mine, .*: it holds a Mine, a class of yours"),
    "a layer": (
        lambda: nn.Sequential(nn.Linear(2, 2, rng=0), Mine()),
        "holds a Sequential, .*: it holds a Mine, a class",
    ),
    "a function": (lambda: nn.Sequential(nn.Linear(2, 1, rng=0), bent), "its layer bent is a function of yours"),
    "an attribute": (with_classes, "its LogisticRegression has an attribute of yours, 'classes'"),
    "shared parameters": (tied, "its layers share parameters, or have other ones"),
}


@pytest.mark.parametrize("case", NOT_MADE)
def test_what_a_file_alone_does_not_make_says_what_it_needs(tmp_path, case):
    make, message = NOT_MADE[case]
    model = make()
    tg.save(tmp_path / "model", model)
    with pytest.raises(ValueError, match=message + r".*Make one as .*, and write tg\.load\(path, model\)\."):
        tg.load(tmp_path / "model")
    other = make()
    for p in other.parameters():
        p.data = p.data + 1
    assert tg.load(tmp_path / "model", other).model is other
    np.testing.assert_array_equal(other(X).data, model(X).data)


def test_generators_of_modules_of_yours_go_on(tmp_path):
    model, other = Mine(), Mine()
    model.noise["rng"][0].random(3)
    tg.save(tmp_path / "model", model)
    tg.load(tmp_path / "model", other)
    assert other.noise["rng"][0].random() == model.noise["rng"][0].random()
    other.noise = {}
    with pytest.raises(ValueError, match=r"noise\.rng\.0 is no random generator here"):
        tg.load(tmp_path / "model", other)


# -- what modules of yours keep as attributes -------------------------------------------------------------------------


class Keeping(nn.Module):
    """Has a setting, an array that training moves, what only training tells it, and what no file can hold."""

    limit = None

    def __init__(self, factor=2.0):
        self.inner, self.factor = nn.Linear(2, 1, rng=0), factor
        self.mean, self.words = np.zeros((2, 1)), {"seen": np.zeros(0)}
        self.anything, self.function, self.last = {1, 2}, np.tanh, None

    def __call__(self, X):
        return self.inner(X - self.mean) * self.factor


def test_arrays_and_what_a_new_model_has_not_been_told_come_with_the_file(tmp_path):
    model = nn.Sequential(Keeping(), nn.Tanh())
    kept = model.layers[0]
    kept.mean += 3
    kept.limit, kept.last, kept.classes, kept.anything = 5, np.arange(2), ["no", "yes"], {3}
    model.layers[1].note = "mine"
    tg.save(tmp_path / "model", model)
    with pytest.raises(ValueError, match="a Keeping, a class of yours"):
        tg.load(tmp_path / "model")
    other = tg.load(tmp_path / "model", nn.Sequential(Keeping(), nn.Tanh())).model
    found = other.layers[0]
    np.testing.assert_array_equal(found.mean, kept.mean)
    np.testing.assert_array_equal(found.last, kept.last)
    assert (found.limit, found.classes, other.layers[1].note) == (5, ["no", "yes"], "mine")
    assert found.anything == {1, 2}  # which no file holds
    np.testing.assert_array_equal(other(X).data, model(X).data)


def test_another_setting_of_a_module_of_yours_is_a_difference_and_nothing_is_changed(tmp_path):
    model = Keeping()
    model.factor, model.words = 5.0, {"seen": np.ones(3)}
    tg.save(tmp_path / "model", model)
    other = Keeping()
    before = pickle.dumps(other)
    with pytest.raises(
        ValueError, match=r"factor is 5\.0; here it is 2\.0 \(if training .*: model\.factor = 5\.0\); words is"
    ):
        tg.load(tmp_path / "model", other)
    assert pickle.dumps(other) == before
    other.factor, other.words = 5, model.words
    assert tg.load(tmp_path / "model", other).model.factor == 5


def test_a_file_sets_no_method_and_nothing_that_is_saved_otherwise(tmp_path):
    tg.save(tmp_path / "model", Keeping())
    reader = container.read(tmp_path / "model")
    for name in ("__call__", "predict", "parameters", "training", "no name"):
        reader.text["model"]["attributes"] = {"": {name: 3}}
        kept = Keeping()
        kept.predict = nn.Linear.__call__
        problems = other_attributes(reader.text["model"]["attributes"], kept, reader)
        assert len(problems) == 1, name
    assert other_attributes({"elsewhere": {"k": 1}}, Keeping(), reader) == ["it has no elsewhere"]


MADE = {
    "a layer": lambda: nn.Linear(2, 3, rng=0),
    "one twice": lambda: nn.Sequential(layer := nn.Linear(2, 2, rng=0), nn.Tanh(), layer),
    "functions": lambda: nn.Sequential(nn.Linear(2, 2, rng=0), np.sin, tg.relu, np.exp, tg.softmax),
    "two layers": lambda: nn.TwoLayerNetwork(2, 3, 2, nn.ReLU(), rng=0, several_labels=True),
    "single precision": lambda: nn.LogisticRegression(2, dtype=np.float32),
    "a regression": lambda: nn.Sequential(
        nn.Standardizer.of(X), nn.Linear(2, 1, rng=0), nn.Standardizer.of(Y.astype(float)).inverse()
    ),
    "nested": lambda: nn.Sequential(nn.Sequential(nn.Linear(2, 2, rng=0), nn.Sigmoid()), nn.Softmax()),
    "in evaluation": lambda: evaluating(network()),
}


def evaluating(model):
    model.eval()
    return model


@pytest.mark.parametrize("case", MADE)
def test_models_of_our_layers_are_made_of_the_file_alone(tmp_path, case):
    model = MADE[case]()
    tg.save(tmp_path / "model", model)
    made = tg.load(tmp_path / "model").model
    assert type(made) is type(model)
    assert repr(made) == repr(model)
    assert [m.training for m in made.modules()] == [m.training for m in model.modules()]
    np.testing.assert_array_equal(made(X).data, model(X).data)
    assert len(list(made.modules())) == len(list(model.modules()))


def test_a_new_process_predicts_from_the_file_alone(path, tmp_path):
    np.save(tmp_path / "X.npy", X)
    code = (
        "import sys, numpy as np, tinygrad_dls as tg\n"
        "np.save(sys.argv[2], tg.load(sys.argv[1]).model.predict_proba(np.load(sys.argv[2])))"
    )
    subprocess.run([sys.executable, "-c", code, str(path), str(tmp_path / "X.npy")], check=True, cwd=ROOT)
    np.testing.assert_array_equal(np.load(tmp_path / "X.npy"), tg.load(path).model.predict_proba(X))


# -- calls ------------------------------------------------------------------------------------------------------------


def itself():
    x = []
    x.append(x)
    return x


MODEL = network()
CALLS = {
    "no path": (lambda p: tg.save(MODEL, p), "save takes a path first, such as 'model.safetensors', got .*Classifier"),
    "no model": (lambda p: tg.save(p, {"W": 1}), r"save takes a path and a model \(a tg\.nn\.Module\), got"),
    "no optimizer": (lambda p: tg.save(p, MODEL, {"rng": 1}), "save: the third argument is an optimizer, got"),
    "another's": (
        lambda p: tg.save(p, MODEL, momentum(nn.Linear(1, 1, rng=0))),
        "the optimizer updates W, which is no",
    ),
    "Tensor": (
        lambda p: tg.save(p, MODEL, x=MODEL(X)),
        r"save: extra\.x is a Tensor\. Keep its values: extra\.x\.data",
    ),
    "object": (
        lambda p: tg.save(p, MODEL, x=[object()]),
        r"save: extra\.x\.0 is .*object.*, and a file holds numbers, te",
    ),
    "function": (lambda p: tg.save(p, MODEL, f=np.tanh), r"save: extra\.f is .*, and a file holds numbers, texts"),
    "keys": (lambda p: tg.save(p, MODEL, x={1: 2}), r"save: extra\.x is .*, and a file holds .* dicts \(by texts\)"),
    "set": (lambda p: tg.save(p, MODEL, x={1}), r"save: extra\.x is \{1\}, and a file holds"),
    "batches": (
        lambda p: tg.save(p, MODEL, batches=tg.minibatches(X, Y, 4, rng=0)),
        r"extra\.batches is .*Save the generator that it draws from: rng = np\.random\.default_rng\(0\)",
    ),
    "history": (
        lambda p: tg.save(p, MODEL, history=tg.History()),
        r"extra\.history is .*Save its lists, .*history\.costs",
    ),
    "itself": (lambda p: tg.save(p, MODEL, x=itself()), "is nested too deeply, or contains itself"),
    "texts": (lambda p: tg.save(p, MODEL, x=np.array(["a"])), r"extra\.x is of <U1, .*\. Write \.tolist\(\)\."),
    "complex numbers": (lambda p: tg.save(p, MODEL, x=np.array([1j])), r"Write \.real and \.imag\."),
    "dates": (lambda p: tg.save(p, MODEL, x=np.array(["2020"], "M8[D]")), r"Write \.astype\(str\)\.tolist\(\)\."),
    "wide": (
        lambda p: tg.save(p, nn.Linear(1, 1, rng=0, dtype=np.longdouble)),
        r"model\.W is of (float128|longdouble), which the file has no place for\. Write \.astype\(float\)",
    ),
    "optimizer alone": (lambda p: tg.load(p, None, momentum(MODEL)), r"write tg\.load\(path, model, optimizer\)"),
    "load without a path": (lambda p: tg.load(MODEL), "load takes a path first"),
    "load into a dict": (lambda p: tg.load(p, {}), r"load takes a path and a model \(a tg\.nn\.Module\), got \{\}"),
}


@pytest.mark.parametrize("case", CALLS)
def test_wrong_calls_are_refused_and_write_nothing(tmp_path, case):
    call, message = CALLS[case]
    path = tmp_path / "model"
    path.write_text("old")
    with pytest.raises((TypeError, ValueError), match=message):
        call(path)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


def test_all_bad_input_comes_back_as_it_was_or_is_refused_by_name(tmp_path):
    """Whatever the sweep of bad input has in the place of an array."""
    outcomes = {"back": 0, "refused": 0}
    for bad in arrays_instead(X[:, :3]):
        try:
            tg.save(tmp_path / "model", MODEL, x=bad.value)
        except (TypeError, ValueError, MemoryError) as error:
            outcomes["refused"] += "extra.x" in str(error) or bad.label == "huge"
            continue
        found = tg.load(tmp_path / "model").extra["x"]
        plain = bad.value.item() if isinstance(bad.value, np.generic) else bad.value
        as_array = isinstance(found, np.ndarray) and np.array_equal(found, np.asarray(plain), equal_nan=True)
        outcomes["back"] += as_array or (type(found), repr(found)) == (type(plain), repr(plain))
    assert sum(outcomes.values()) == len(list(arrays_instead(X[:, :3])))
    assert min(outcomes.values()) > 20


def test_a_generator_of_another_library_is_refused(tmp_path):
    class Bits(np.random.PCG64):
        pass

    rng = np.random.Generator(Bits(0))
    model = nn.Sequential(nn.Linear(2, 1, rng=0), nn.Dropout(0.5, rng=rng))
    for call in (lambda: tg.save(tmp_path / "model", MODEL, rng=rng), lambda: tg.save(tmp_path / "model", model)):
        with pytest.raises(TypeError, match=r"draws from Bits, whose state is not known\. Use np\.random\.default_rng"):
            call()


def test_an_optimizer_that_was_not_saved_is_missing(tmp_path):
    model = network()
    tg.save(tmp_path / "model", model)
    with pytest.raises(ValueError, match=r"it holds no optimizer; tg\.save\(path, model, optimizer\) saves one"):
        tg.load(tmp_path / "model", model, momentum(model))
    assert tg.load(tmp_path / "model").optimizer is None


def test_a_missing_file_and_a_folder_are_pythons_own_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        tg.load(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        tg.save(tmp_path / "nowhere" / "model", MODEL)
    with pytest.raises(IsADirectoryError):
        tg.save(tmp_path, MODEL)


def test_without_safetensors_the_error_says_how_to_install_it(tmp_path):
    code = (
        "import sys; sys.modules['safetensors'] = None\nimport tinygrad_dls as tg\n"
        "try:\n    tg.save('model', tg.nn.Linear(1, 1, rng=0))\nexcept ImportError as error:\n    print(error)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout == "files of models need safetensors: pip install -e '.[save]'\n"
    assert not (ROOT / "model").exists()


def test_a_saved_file_says_what_it_holds(path):
    assert repr(tg.load(path)) == "Saved: Classifier; SGD after 2 steps"
    model = copy.deepcopy(MODEL)
    tg.save(path, model, epoch=3, rng=np.random.default_rng(0))
    assert repr(tg.load(path)) == "Saved: Classifier; extra: epoch, rng"


def test_a_place_that_cannot_be_is_named_as_it_was_written(tmp_path):
    model = nn.LogisticRegression(2)
    with pytest.raises(FileNotFoundError, match=re.escape(f"save: there is no folder '{tmp_path / 'no'}'. Make it")):
        tg.save(tmp_path / "no" / "model.safetensors", model)
    with pytest.raises(IsADirectoryError, match=re.escape(f"save: '{tmp_path}' is a folder; name a file in it")):
        tg.save(tmp_path, model)
