"""The settings of the playground: a link may hold anything."""

import pytest

from playground.engine.settings import MOST_LAYERS, MOST_UNITS, Settings, SettingsError


def test_settings_come_back_from_json():
    given = {"data": "moons", "hidden": [8, 3], "features": ["x1", "sin x2"], "lr": 0.3, "l2": 1}
    assert Settings.of(Settings.of(given).as_json()) == Settings.of(given)


def test_what_is_not_given_is_as_by_default():
    assert Settings.of({}) == Settings()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"colour": "red"}, "There is no setting 'colour'."),
        (
            {"data": "iris"},
            "data is one of 'flower', 'circles', 'moons', 'xor', 'spirals', 'cancer', 'csv', not 'iris'.",
        ),
        ({"data": []}, "data is one of"),
        ({"optimizer": "lbfgs"}, "optimizer is one of 'sgd', 'momentum', 'rmsprop', 'adam', not 'lbfgs'."),
        ({"lr": 0}, "lr is a number from 1e-06 to 100, not 0."),
        ({"lr": "fast"}, "lr is a number from 1e-06 to 100, not 'fast'."),
        ({"lr": float("nan")}, "lr is a number from 1e-06 to 100, not nan."),
        ({"l2": -1}, "l2 is a number from 0 to 100, not -1."),
        ({"dropout": 1}, "dropout is a number from 0 to 0.9, not 1."),
        ({"m": 21}, "m is even, as half of the examples are of each class, not 21."),
        ({"m": 40.0}, "m is a whole number from 20 to 5000, not 40.0."),
        ({"seed": True}, "seed is a whole number from 0 to 4.29497e+09, not True."),
        ({"hidden": [4] * (MOST_LAYERS + 1)}, f"hidden is a list of {MOST_LAYERS} layers at most"),
        ({"hidden": 4}, f"hidden is a list of {MOST_LAYERS} layers at most, not 4."),
        ({"hidden": [0]}, f"A hidden layer has 1 to {MOST_UNITS} units, not 0."),
        ({"hidden": [MOST_UNITS + 1]}, f"A hidden layer has 1 to {MOST_UNITS} units, not {MOST_UNITS + 1}."),
        ({"features": ["x3"]}, "There is no feature 'x3'; there are x1, x2, "),
        ({"features": ["x1", "x1"]}, "A feature is named twice."),
        ({"features": "x1"}, "features is a list of names, not 'x1'."),
        ({"axes": ["x1"]}, "axes are two columns, not 1."),
        ({"target": 3}, "target is the name of a column, not 3."),
    ],
)
def test_what_is_out_of_bounds_is_refused_by_name(given, said):
    with pytest.raises(SettingsError) as error:
        Settings.of(given)
    assert said in str(error.value)
