"""What callbacks see, and early stopping and checkpoints by them."""

import itertools
import re
import sys

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.training.fitting import LOSS, fit, network
from tinygrad_dls.extras import install
from tinygrad_dls.training import Epoch

PARAMETERS = ["W1", "b1", "W2", "b2"]


def alike(model, state):
    return all(np.array_equal(x, state[name]) for name, x in model.state_dict().items())


# -- what they see ----------------------------------------------------------------------------------------------------


def test_a_callback_sees_the_epoch_its_figures_the_history_the_model_and_the_optimizer(flower):
    seen = []
    model, optimizer = network(), None
    optimizer = tg.optim.SGD(model.parameters(), lr=1.2)
    history = tg.fit(model, *flower, loss=LOSS, optimizer=optimizer, epochs=3, validation=flower, metrics=["f1"],
                     callbacks=[seen.append])  # fmt: skip
    assert [now.epoch for now in seen] == [0, 1, 2]
    assert [now.cost for now in seen] == history.costs
    assert [now.figures for now in seen] == list(history)
    assert seen[0].figures.keys() == {"epoch", "cost", "validation_cost", "validation_accuracy", "f1"}
    assert all((now.history, now.model, now.optimizer) == (history, model, optimizer) for now in seen)
    assert isinstance(seen[0], Epoch)
    assert seen[0].rng is None
    rng = np.random.default_rng(0)
    tg.fit(model, *flower, loss=LOSS, optimizer=optimizer, epochs=1, batch_size=200, rng=rng, callbacks=[seen.append])
    assert seen[-1].rng is rng


@pytest.mark.parametrize(
    ("callback", "text"),
    [
        (lambda epoch, cost, model: None, "fit: the callback <lambda> does not take one argument: missing a required "
         "argument: 'cost'. Write `def callback(now)`, with now.epoch, now.cost, now.figures, now.history, now.model"),
        (lambda: None, "too many positional arguments"),
        (tg.EarlyStopping, "fit: callbacks: EarlyStopping is a class. Make one: EarlyStopping(...)."),
        (3, "fit: callbacks must be a list of functions"),
    ],
)  # fmt: skip
def test_what_cannot_be_called_so_is_refused_before_anything_is_trained(flower, callback, text):
    model = network()
    before = model.state_dict()
    with pytest.raises(TypeError, match=re.escape(text)):
        fit(model, *flower, callbacks=[callback])
    assert alike(model, before)


# -- early stopping ---------------------------------------------------------------------------------------------------


class Planned:
    """A model's metric that takes planned values, whatever the model is; the first is that of before the training."""

    def __init__(self, values):
        self.values = itertools.chain([0.0], values, itertools.repeat(values[-1]))

    def __call__(self, predictions, Y):
        return next(self.values)


def stopped(flower, values, *, epochs=20, states=None, **options):
    """How many epochs a training has whose metric takes these values, and what has stopped it."""
    stop = tg.EarlyStopping(**{"patience": 2, "monitor": "planned", "mode": "max"} | options)
    model = network()
    states = [] if states is None else states
    history = fit(model, *flower, epochs=epochs, validation=flower, metrics={"planned": Planned(values)},
                  callbacks=[lambda now: states.append(now.model.state_dict()), stop])  # fmt: skip
    return len(history), stop, model


def test_training_ends_when_so_many_epochs_have_brought_no_improvement(flower):
    epochs, stop, _ = stopped(flower, [1, 2, 3, 2, 3, 9])
    assert (epochs, stop.best_epoch, stop.best, stop.stopped) == (5, 2, 3, True)
    epochs, stop, _ = stopped(flower, [3, 2, 1, 2, 1, 0], mode="min")
    assert (epochs, stop.best_epoch, stop.best) == (5, 2, 1)
    epochs, stop, _ = stopped(flower, [1, 2, 3, 4], epochs=4)
    assert (epochs, stop.stopped) == (4, False)


def test_an_improvement_is_one_by_more_than_min_delta(flower):
    epochs, stop, _ = stopped(flower, [1, 1.5, 2.0, 2.5], min_delta=1)
    assert (epochs, stop.best_epoch) == (3, 0)
    epochs, stop, _ = stopped(flower, [1, 2.1, 2.2, 3, 3], min_delta=1)
    assert (epochs, stop.best_epoch, stop.best) == (4, 1, 2.1)


def test_nan_is_no_improvement(flower):
    epochs, stop, _ = stopped(flower, [np.nan, 1, np.nan, np.nan])
    assert (epochs, stop.best_epoch) == (4, 1)
    epochs, stop, _ = stopped(flower, [np.nan, np.nan, np.nan])
    assert (epochs, stop.best_epoch) == (2, -1)


def test_a_training_goes_on_from_the_best_epoch_as_if_it_had_ended_there(flower):
    """The optimizer's moments and steps are those of the parameters that it goes on with."""

    def made():
        model = network()
        rate = tg.optim.exponential_decay(0.05, rate=0.9)
        return model, tg.optim.Adam(model.parameters(), lr=rate)

    def train(model, optimizer, epochs, **options):
        return tg.fit(model, *flower, loss=LOSS, optimizer=optimizer, epochs=epochs, **options).costs

    straight = train(*made(), 7)
    stop = tg.EarlyStopping(3, monitor="planned", mode="max")
    model, optimizer = made()
    costs = train(model, optimizer, 9, validation=flower, metrics={"planned": Planned([1, 5, 2])}, callbacks=[stop])
    assert (len(costs), stop.best_epoch, optimizer.steps) == (5, 1, 2)
    assert train(model, optimizer, 5) == straight[2:]


def test_the_optimizer_keeps_its_last_state_where_the_best_parameters_are_not_asked_for(flower):
    model = network()
    optimizer = tg.optim.Adam(model.parameters())
    stop = tg.EarlyStopping(3, monitor="planned", mode="max", restore_best=False)
    tg.fit(model, *flower, loss=LOSS, optimizer=optimizer, epochs=9, validation=flower,
           metrics={"planned": Planned([1, 5, 2])}, callbacks=[stop])  # fmt: skip
    assert optimizer.steps == 5


@pytest.mark.parametrize("ending", ["stopped", "out of epochs"])
def test_the_model_gets_its_best_parameters_back(flower, ending):
    states = []
    values = [1, 5, 2, 3] if ending == "stopped" else [1, 5, 2]
    epochs, stop, model = stopped(flower, values, epochs=len(values), states=states)
    assert (epochs, stop.stopped, stop.best_epoch) == (len(values), ending == "stopped", 1)
    assert alike(model, states[1])
    assert not alike(model, states[-1])


def test_the_last_parameters_stay_where_the_best_are_not_asked_for(flower):
    states = []
    _, _, model = stopped(flower, [5, 1, 1], states=states, restore_best=False)
    assert alike(model, states[-1])


def test_ctrl_c_leaves_the_best_parameters_too(flower):
    states = []

    def interrupt(now):
        states.append(now.model.state_dict())
        if now.epoch == 3:
            raise KeyboardInterrupt

    model = network()
    history = fit(model, *flower, epochs=9, validation=flower, metrics={"planned": Planned([1, 9, 3, 4])},
                  callbacks=[tg.EarlyStopping(5, monitor="planned", mode="max"), interrupt])  # fmt: skip
    assert history.interrupted
    assert alike(model, states[1])


def test_a_training_that_diverges_leaves_the_best_parameters(flower):
    X, Y = flower
    states = []
    model = tg.nn.Sequential(tg.nn.Linear(2, 1, rng=0))
    optimizer = tg.optim.SGD(model.parameters(), lr=lambda step: 1e-3 if step < 3 else 1e200)
    with pytest.raises(FloatingPointError):
        tg.fit(model, X, Y, loss=tg.mean_squared_error, optimizer=optimizer, epochs=50, validation=(X, Y),
               callbacks=[lambda now: states.append(now.model.state_dict()), tg.EarlyStopping(50)])  # fmt: skip
    assert alike(model, states[2])


def test_compiled_training_stops_and_restores_as_eager_training_does(flower):
    found = []
    for compiled in (False, True):
        model = network()
        stop = tg.EarlyStopping(3)
        history = fit(model, *flower, epochs=60, lr=30, validation=flower, callbacks=[stop], compile=compiled)
        found.append((len(history), stop.best_epoch))
        assert LOSS(model(flower[0]), flower[1]).item() == pytest.approx(stop.best, rel=1e-12)
    assert found[0] == found[1]
    assert found[0][0] < 60


def test_the_same_early_stopping_serves_again(flower):
    stop = tg.EarlyStopping(2, monitor="cost")
    first = fit(network(), *flower, epochs=3, callbacks=[stop])
    assert stop.best_epoch == 2
    second = fit(network(), *flower, epochs=3, callbacks=[stop])
    assert len(first) == len(second) == 3


@pytest.mark.parametrize("compile", [False, True])
def test_the_best_parameters_by_the_cost_are_those_that_had_it(flower, compile):
    """The cost of an epoch is from before its update, and this learning rate makes it worse."""
    model, stop = network(), tg.EarlyStopping(3, monitor="cost")
    history = fit(model, *flower, epochs=60, lr=30, callbacks=[stop], compile=compile)
    assert stop.best == min(history.costs) < history.costs[stop.best_epoch + 1]
    assert LOSS(model(flower[0]), flower[1]).item() == pytest.approx(stop.best, rel=1e-12)  # compiled: rounding
    model, first = network(), network().state_dict()
    fit(model, *flower, epochs=2, lr=1e3, callbacks=[tg.EarlyStopping(1, monitor="cost")], compile=compile)
    assert alike(model, first)


def test_the_best_epoch_by_the_cost_of_mini_batches_is_as_it_ended(flower):
    states, model, stop = [], network(), tg.EarlyStopping(3, monitor="cost")
    fit(model, *flower, epochs=60, lr=30, batch_size=64, rng=0,
        callbacks=[lambda now: states.append(now.model.state_dict()), stop])  # fmt: skip
    assert stop.stopped
    assert alike(model, states[stop.best_epoch])


def test_accuracy_is_better_when_it_is_larger_and_the_cost_when_it_is_smaller(flower):
    for monitor, best in {"validation_accuracy": max, "validation_cost": min, "f1": max}.items():
        stop = tg.EarlyStopping(100, monitor=monitor)
        history = fit(network(), *flower, epochs=8, validation=flower, metrics="f1", callbacks=[stop])
        assert stop.best == best(history[monitor])


@pytest.mark.parametrize(
    ("options", "training", "error", "text"),
    [
        ({}, {}, ValueError, "EarlyStopping looks at validation_cost, which this training does not have; it has cost. "
         "Pass validation=(X, Y) to fit, or monitor='cost'."),
        ({"monitor": "f1"}, {"validated": True}, ValueError, "EarlyStopping looks at f1, which this training does not "
         "have; it has cost, validation_cost, validation_accuracy."),
        ({"monitor": "own"}, {"validated": True, "metrics": {"own": lambda p, Y: 1}}, ValueError,
         "EarlyStopping cannot tell whether a large own is good. Say so: mode='max', or mode='min'."),
        ({"patience": 0}, {}, ValueError, "EarlyStopping: patience"),
        ({"patience": 1.5}, {}, ValueError, "EarlyStopping: patience"),
        ({"monitor": 3}, {}, TypeError, "EarlyStopping looks at a figure by its name"),
        ({"mode": "less"}, {}, ValueError, "EarlyStopping: mode is 'min' or 'max', got 'less'"),
        ({"min_delta": -1}, {}, ValueError, "EarlyStopping: min_delta must be a finite number >= 0"),
        ({"restore_best": 1}, {}, TypeError, "EarlyStopping: restore_best must be True or False"),
    ],
)  # fmt: skip
def test_other_early_stopping_is_refused_before_anything_is_trained(flower, options, training, error, text):
    model = network()
    before = model.state_dict()
    training = dict(training)
    if training.pop("validated", False):
        training["validation"] = flower
    with pytest.raises(error, match=re.escape(text)):
        fit(model, *flower, callbacks=[tg.EarlyStopping(**{"patience": 3} | options)], **training)
    assert alike(model, before)


# -- checkpoints ------------------------------------------------------------------------------------------------------


def read(path):
    return tg.load(path).model.state_dict()


def test_a_checkpoint_is_written_every_so_many_epochs_and_at_the_end(flower, tmp_path):
    states = []
    fit(network(), *flower, epochs=5, callbacks=[lambda now: states.append(now.model.state_dict()),
        tg.Checkpoint(tmp_path / "at{epoch}.safetensors", every=2)])  # fmt: skip
    assert sorted(x.name for x in tmp_path.iterdir()) == [f"at{epoch}.safetensors" for epoch in (1, 3, 4)]
    for epoch in (1, 3, 4):
        saved = read(tmp_path / f"at{epoch}.safetensors")
        assert list(saved) == PARAMETERS
        assert all(np.array_equal(x, states[epoch][name]) for name, x in saved.items())


def test_a_checkpoint_of_the_best_epoch_is_that_of_early_stopping(flower, tmp_path):
    path, stop = tmp_path / "best.safetensors", tg.EarlyStopping(3)
    model = network()
    fit(model, *flower, epochs=60, lr=30, validation=flower,
        callbacks=[stop, tg.Checkpoint(str(path), best="validation_cost")])  # fmt: skip
    assert alike(model, read(path))
    again, _, extra = tg.load(path)
    assert LOSS(again(flower[0]), flower[1]).item() == stop.best == extra["figures"]["validation_cost"]
    assert extra["figures"]["epoch"] == stop.best_epoch


def test_the_last_checkpoint_is_of_the_last_epoch_even_where_the_best_is_restored(flower, tmp_path):
    states = []
    fit(network(), *flower, epochs=3, validation=flower, metrics={"planned": Planned([3, 2, 1])}, callbacks=[
        lambda now: states.append(now.model.state_dict()), tg.EarlyStopping(9, monitor="planned", mode="max"),
        tg.Checkpoint(tmp_path / "last.safetensors", every=2)])  # fmt: skip
    assert all(np.array_equal(x, states[-1][name]) for name, x in read(tmp_path / "last.safetensors").items())


@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.parametrize("batches", [{}, {"batch_size": 64, "rng": 5}])
def test_a_training_goes_on_from_a_checkpoint_as_if_it_had_never_stopped(flower, tmp_path, batches, compile):
    def train(model, optimizer, epochs, **options):
        return tg.fit(model, *flower, loss=LOSS, optimizer=optimizer, epochs=epochs, compile=compile, **options).costs

    def made():
        model = network()
        rate = tg.optim.cosine_decay(0.05, steps=60)
        return model, tg.optim.Adam(model.parameters(), lr=rate, weight_decay=0.01)

    straight = train(*made(), 6, **batches)
    train(*made(), 4, **batches, callbacks=[tg.Checkpoint(tmp_path / "at{epoch}.safetensors")])
    for epoch in range(4):
        model, optimizer, extra = tg.load(tmp_path / f"at{epoch}.safetensors")
        assert extra.keys() == ({"figures", "rng"} if batches else {"figures"})
        assert train(model, optimizer, 5 - epoch, **batches | extra_rng(extra)) == straight[epoch + 1 :]


@pytest.mark.parametrize("monitor", ["planned", "cost"])
@pytest.mark.parametrize("batches", [{}, {"batch_size": 64, "rng": 5}])
def test_early_stopping_goes_on_from_a_checkpoint_as_if_it_had_never_stopped(flower, tmp_path, batches, monitor):
    """Wherever the program was killed: before the best epoch, at it, or while the others were waited for."""
    values = [1, 3, 2, 5, 2, 1, 3, 4, 4]

    def train(model, optimizer, epochs, values, extra=None, **options):
        stop = tg.EarlyStopping(4, monitor=monitor, mode={"planned": "max"}.get(monitor), resume=extra)
        last = tg.Checkpoint(tmp_path / "last.safetensors")
        more = {} if "batch_size" not in batches else batches | ({"rng": extra["rng"]} if extra else {})
        history = tg.fit(model, *flower, loss=LOSS, optimizer=optimizer, epochs=epochs, validation=flower,
                         metrics={"planned": Planned(values)}, callbacks=[last, stop], **more)  # fmt: skip
        return history.costs, stop, model.state_dict(), optimizer.state_dict()

    def made():
        model = network()
        return model, tg.optim.Adam(model.parameters(), lr=0.9)

    epochs = {"planned": 9, "cost": 7}[monitor]
    costs, stop, parameters, state = train(*made(), epochs, values)
    assert 0 < stop.best_epoch < len(costs) - 1
    for n in range(1, len(costs)):
        train(*made(), n, values)
        model, optimizer, extra = tg.load(tmp_path / "last.safetensors")
        ended, resumed, others, its = train(model, optimizer, epochs - n, values[n:], extra)
        assert ended == costs[n:]
        assert (resumed.best, resumed.best_epoch + n, resumed.stopped) == (stop.best, stop.best_epoch, stop.stopped)
        assert all(np.array_equal(parameters[name], others[name]) for name in parameters)
        np.testing.assert_equal(its, state)


def test_the_file_of_the_best_epoch_is_replaced_by_a_better_one_alone_where_the_training_goes_on(flower, tmp_path):
    def train(values, resume):
        keep = tg.Checkpoint(tmp_path / "best.safetensors", best="planned", mode="max", resume=resume)
        fit(network(), *flower, epochs=2, validation=flower, metrics={"planned": Planned(values)}, callbacks=[keep])
        return tg.load(tmp_path / "best.safetensors").extra["figures"]["planned"]

    assert train([3, 5], True) == 5  # there is no file yet
    assert train([4, 3], True) == 5
    assert train([4, 6], True) == 6
    assert train([2, 1], False) == 2


def test_what_another_callback_changes_is_in_the_file_whatever_their_order(flower, tmp_path):
    def halve(now):
        now.optimizer.lr /= 2

    for callbacks in ([halve], [halve, halve]):
        fit(network(), *flower, epochs=3, lr=1.0, callbacks=[tg.Checkpoint(tmp_path / "a.safetensors"), *callbacks])
        assert tg.load(tmp_path / "a.safetensors").optimizer.lr == 0.5 ** (3 * len(callbacks))


def test_what_nothing_can_be_resumed_from_is_refused_before_anything_is_trained(flower, tmp_path):
    path, before = tmp_path / "a.safetensors", network().state_dict()
    fit(network(), *flower, epochs=3, validation=flower, callbacks=[
        tg.Checkpoint(path), tg.EarlyStopping(2, restore_best=False), tg.EarlyStopping(2, monitor="validation_accuracy")
    ])  # fmt: skip
    extra = tg.load(path).extra
    assert "epochs_since" in extra["early_stopping"]["validation_cost"]
    for make, text in (
        (lambda: tg.EarlyStopping(2, monitor="cost", resume=extra), "EarlyStopping of cost: model, optimizer, extra = "
         "tg.load(path). This one holds those of validation_cost, validation_accuracy."),
        (lambda: tg.EarlyStopping(2, resume={}), "beside an EarlyStopping of validation_cost"),
        (lambda: tg.EarlyStopping(2, resume="a.safetensors"), "This one holds none."),
        (lambda: tg.EarlyStopping(2, resume=extra), "its training had restore_best=False. Write that here, too."),
        (lambda: tg.Checkpoint(path, resume=True), "Checkpoint: resume=True is for one file of the best epoch"),
        (lambda: tg.Checkpoint(tmp_path / "{epoch}", best="cost", resume=True), "resume=True is for one file"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=re.escape(text)):
            make()
    tg.save(path, network())
    other, stop = tg.nn.TwoLayerNetwork(2, 7, rng=0), tg.EarlyStopping(2, monitor="validation_accuracy", resume=extra)
    known = extra["early_stopping"]["validation_accuracy"]
    for model, callback, text in (
        (network(), tg.Checkpoint(path, best="cost", resume=True), "says nothing of cost, so nothing can be better"),
        (other, stop, "EarlyStopping: resume= is of another model: W1 is"),
    ):
        if callback is stop and "model" not in known:
            known["model"], known["optimizer"] = before, {}
            callback = tg.EarlyStopping(2, monitor="validation_accuracy", resume=extra)
        state = model.state_dict()
        with pytest.raises(ValueError, match=re.escape(text)):
            fit(model, *flower, epochs=1, validation=flower, callbacks=[callback])
        assert alike(model, state)


def extra_rng(extra):
    return {"rng": extra["rng"]} if "rng" in extra else {}


def test_a_checkpoint_without_safetensors_is_refused_before_anything_is_trained(flower, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    model = network()
    before = model.state_dict()
    with pytest.raises(ImportError, match=re.escape(f"files of models need safetensors: {install('save')}")):
        fit(model, *flower, callbacks=[tg.Checkpoint(tmp_path / "model.safetensors")])
    assert alike(model, before)


def test_a_file_that_cannot_be_written_stops_the_training_and_keeps_the_old_one(flower, tmp_path):
    path = tmp_path / "kept.safetensors"
    path.write_bytes(b"old")
    path.chmod(0o444)
    with pytest.raises(PermissionError, match="read-only"):
        fit(network(), *flower, callbacks=[tg.Checkpoint(path)])
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize(
    ("arguments", "options", "error", "text"),
    [
        (
            ["model.npz"],
            {},
            ValueError,
            "Checkpoint: 'model.npz' would hold what its name denies: tg.save writes safetensors. "
            "Write 'model.safetensors'.",
        ),
        ([3], {}, TypeError, "Checkpoint takes the path of a file, such as 'best.safetensors'; got"),
        ([b"x.safetensors"], {}, TypeError, "Checkpoint takes the path of a file"),
        (
            ["at{epoch:03d}.safetensors"],
            {},
            ValueError,
            "Checkpoint: {epoch:03d} in 'at{epoch:03d}.safetensors' would be a part of the file's name as it stands: "
            "{epoch} alone becomes the number of the epoch.",
        ),
        (["at{epoch}{cost}.safetensors"], {}, ValueError, "Checkpoint: {cost} in"),
        (["x.safetensors"], {"every": 0}, ValueError, "Checkpoint: every"),
        (["x.safetensors"], {"best": True}, TypeError, "Checkpoint looks at a figure by its name"),
        (["x.safetensors"], {"mode": "max"}, ValueError, "Checkpoint: mode= is for the figure that best= names."),
    ],
)
def test_other_checkpoints_are_refused(arguments, options, error, text):
    with pytest.raises(error, match=re.escape(text)):
        tg.Checkpoint(*arguments, **options)


def test_a_checkpoint_of_a_figure_that_is_not_there_is_refused_before_anything_is_trained(flower, tmp_path):
    text = (
        "Checkpoint looks at validation_cost, which this training does not have; it has cost. Pass validation=(X, Y) "
        "to fit, or best='cost'."
    )
    with pytest.raises(ValueError, match=re.escape(text)):
        fit(network(), *flower, callbacks=[tg.Checkpoint(tmp_path / "best.safetensors", best="validation_cost")])
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_that_cannot_be_written_is_refused_before_anything_is_trained(flower, tmp_path):
    epochs = []
    for path, error, text in (
        (tmp_path, ValueError, "is a folder; name a file in it, such as best.safetensors."),
        (tmp_path / "no" / "a.safetensors", FileNotFoundError, f"Checkpoint: there is no folder '{tmp_path / 'no'}'."),
    ):
        with pytest.raises(error, match=re.escape(text)):
            fit(network(), *flower, callbacks=[epochs.append, tg.Checkpoint(path)])
    assert not epochs


def test_two_checkpoints_do_not_write_to_the_same_file(flower, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    best = tg.Checkpoint(tmp_path / "link" / "a.safetensors", best="cost")
    with pytest.raises(ValueError, match=r"two Checkpoints write to .*a\.safetensors', and each would replace what"):
        fit(network(), *flower, callbacks=[tg.Checkpoint(tmp_path / "a.safetensors"), best])
    assert not (tmp_path / "a.safetensors").exists()


@pytest.mark.parametrize("answer", [np.array([1.0, 2.0]), np.array([True]), 0, 15, 0.5, np.int64(1), "stop", [], {}])
def test_an_answer_that_is_neither_true_nor_false_is_refused(flower, answer):
    def measured(now):
        return answer

    text = (
        f"fit: the callback measured returned {answer!r}. Return True to end the training, and nothing or False to go "
        "on."
    )
    with pytest.raises(TypeError, match=re.escape(text)):
        fit(network(), *flower, callbacks=[measured])


@pytest.mark.parametrize("kind", [bool, np.bool_, np.array, tg.Tensor])
def test_a_truth_of_any_kind_is_an_answer(flower, kind):
    assert len(fit(network(), *flower, epochs=9, callbacks=[lambda now: kind(now.epoch == 3)])) == 4


def test_what_a_log_returns_ends_no_training(flower, tmp_path):
    with (tmp_path / "log.txt").open("w") as log, pytest.raises(TypeError, match="the callback <lambda> returned"):
        fit(network(), *flower, epochs=9, callbacks=[lambda now: log.write(f"{now.cost}\n")])


def test_they_say_what_they_are():
    assert repr(tg.EarlyStopping(3)) == "EarlyStopping(3, monitor='validation_cost')"
    assert repr(tg.Checkpoint("best.safetensors")) == "Checkpoint('best.safetensors')"
