"""Files that are cut off, damaged, of other things, or made to do harm: an error says so, and nothing else happens."""

import copy
import pickle

import numpy as np
import pytest
from safetensors.numpy import save_file

import tinygrad_dls as tg
from tinygrad_dls import nn, optim
from tinygrad_dls.saving import container

X, Y = tg.datasets.planar_flower(30)


def network():
    return nn.Classifier(
        nn.Standardizer.of(X, features=["a", "b"]),
        nn.Linear(2, 3, rng=0),
        nn.BatchNorm(3),
        np.tanh,
        nn.Dropout(0.8, rng=np.random.default_rng(0)),
        nn.Sequential(nn.Linear(3, 1, rng=1)),
    )


@pytest.fixture
def path(tmp_path):
    model = network()
    optimizer = optim.Adam(model.parameters(), optim.step_decay(0.1, factor=0.5, every=2))
    tg.fit(model, X, Y, loss=tg.binary_cross_entropy_with_logits, optimizer=optimizer, epochs=1)
    path = tmp_path / "model.safetensors"
    tg.save(path, model, optimizer, rng=np.random.RandomState(0), words=["a", ("b", 1.5)], table={"x": np.ones(2)})
    return path


def refused(path, message=r"is no file of tg\.save, or it is cut off|is damaged, or tg\.save has not written it"):
    with pytest.raises(ValueError, match=message) as caught:
        tg.load(path)
    assert str(path) in str(caught.value)
    return caught.value


def test_a_file_that_is_cut_off_anywhere_is_refused(path):
    content = path.read_bytes()
    for length in [*range(0, len(content), 97), len(content) - 1]:
        path.write_bytes(content[:length])
        refused(path)


def test_a_file_with_more_behind_it_is_refused(path):
    path.write_bytes(path.read_bytes() + b"\0")
    refused(path)


def test_a_bit_that_has_flipped_anywhere_is_seen(path):
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in [*range(8), *rng.integers(8, len(content), 300)]:
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        refused(path, "load: ")


@pytest.mark.parametrize(
    "content", [b"", b"text", pickle.dumps({"W": 1}), b"\xff" * 99, b"\x10" + b"\0" * 7 + b'{"a": [1, 2, 3]}']
)
def test_a_file_of_another_kind_is_refused(path, content):
    path.write_bytes(content)
    refused(path, r"is no file of tg\.save, or it is cut off or damaged: .*\. Load an earlier one")


def test_a_safetensors_file_of_another_program_is_refused_with_what_to_write(path):
    save_file({"W": np.ones((1, 2)), "b": np.ones((1, 1))}, path)
    refused(path, r"that tg\.save has not written\. For its arrays write safetensors\.numpy\.load_file\(path\)")


def test_a_pickle_in_its_place_is_not_run(path):
    class Harm:
        def __reduce__(self):
            return (pytest.fail, ("code was run",))

    path.write_bytes(pickle.dumps(Harm()))
    refused(path)


def test_a_later_format_is_named(path):
    text, parts = contents(path)
    container.write(path, text | {"format": 2}, parts)
    refused(path, r"was written by a later version of tinygrad_dls")


# -- texts that were made to do harm, with the right checksum ---------------------------------------------------------


def contents(path):
    reader = container.read(path)
    parts = container.Parts()
    parts.arrays, parts.generators = reader.arrays, reader.states
    return reader.text, parts


def places(text, keys=()):
    """All the places in a text, with the keys that lead to them."""
    yield keys
    items = text.items() if isinstance(text, dict) else enumerate(text) if isinstance(text, list) else ()
    for key, value in items:
        if keys[-2:-1] != ("state",) or key in (0, 623):  # a few of the numbers of a generator
            yield from places(value, (*keys, key))


def changed(text, keys, value):
    text = copy.deepcopy(text)
    if not keys:
        return value
    inner = text
    for key in keys[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[keys[-1]]
    else:
        inner[keys[-1]] = value
    return text


HARM = [
    ..., None, True, -1, 0, 10**6, 10**18, 10**400, 1.5, float("nan"), float("inf"), "", "x", "numpy.save", "os.system",
    "Sequential", "Module", "Dropout", "Generator(MT19937)", [], [0], {}, {"again": 0}, {"function": "numpy.fromfile"},
    {"class": "Sequential", "layers": [{"again": 0}]}, {"class": "Linear", "n_in": 10**9, "n_out": 10**9},
    {"array": "model.W1"}, {"generator": 99}, {"schedule": "step_decay", "settings": {}}, {"dict": {"a": 1}},
]  # fmt: skip


def test_whatever_a_text_says_the_model_is_made_or_the_file_is_refused(path):
    """Each place of the text is changed into a few kinds of harm: no other error, nothing run, no memory taken."""
    text, parts = contents(path)
    model, there = network(), list(places(text))
    outcomes = [
        outcome(path, changed(text, keys, harm), parts.arrays, model)
        for i, keys in enumerate(there)
        for harm in HARM[i % 4 :: 4]
    ]
    assert len(there) > 100
    assert outcomes.count("refused") > outcomes.count("made") > 0


def outcome(path, text, arrays, model):
    """What `load` makes of a text, without a file, and into a model."""
    found = "refused"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(container.json, "loads", {"text": text}.__getitem__)
        patch.setattr("tinygrad_dls.saving.resuming.read", lambda path: container.reader_of(path, "text", arrays))
        for given in ((), (copy.deepcopy(model),)):
            try:
                saved = tg.load(path, *given)
                saved.optimizer  # noqa: B018
            except ValueError:
                continue
            assert isinstance(saved.model, nn.Module)
            found = "made"
    return found


def test_nested_deeply_it_is_refused(path):
    text, parts = contents(path)
    deep = []
    for _ in range(400):
        deep = {"list": [deep]}
    container.write(path, text | {"extra": {"x": deep}}, parts)
    refused(path)
    layers = {"class": "Tanh"}
    for _ in range(400):
        layers = {"class": "Sequential", "layers": [layers]}
    text["model"]["architecture"] = layers
    container.write(path, text, parts)
    refused(path)


def test_numbers_of_a_generator_are_held_against_what_they_can_be(path):
    """NumPy takes a position on trust, and would read beyond its array."""
    for state in (
        {"kind": "RandomState(MT19937)", "state": {"key": [1] * 624, "pos": 10**6}, "has_gauss": 0, "gauss": 0.0},
        {"kind": "RandomState(MT19937)", "state": {"key": [1] * 623, "pos": 1}, "has_gauss": 0, "gauss": 0.0},
        {"kind": "RandomState(MT19937)", "state": {"key": [2**32] * 624, "pos": 1}, "has_gauss": 0, "gauss": 0.0},
        {"kind": "RandomState(MT19937)", "state": {"key": [1] * 624, "pos": 1}, "has_gauss": 0, "gauss": "0"},
        {"kind": "Generator(PCG64)", "state": {"state": -1, "inc": 1}, "has_uint32": 0, "uinteger": 0},
        {"kind": "Generator(os.system)"},
        "PCG64",
    ):
        text, parts = contents(path)
        parts.generators = [state] * 2
        container.write(path, text, parts)
        refused(path, "random generator")
        text["generators"] = parts.generators
        path.unlink()
        tg.save(path, network())
