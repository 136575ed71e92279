"""Where a call comes from: what errors and pictures say of the layer and the line."""

import numpy as np

import tinygrad_dls as tg
from tinygrad_dls.graph.call_site import place, running, titled


class Looking(tg.nn.Module):
    """A layer that notes where it was called from."""

    def __call__(self, x):
        self.layers = [titled(layer) for layer in running()]
        return x


class Around(tg.nn.Sequential):
    def __call__(self, x):
        return super().__call__(x)


def test_the_layers_that_run_are_found_from_the_innermost():
    looking = Looking()
    tg.nn.Sequential(tg.nn.Linear(2, 2, rng=0), tg.nn.Sequential(looking))(np.ones((2, 3)))
    assert looking.layers == ["Looking", "Sequential", "Sequential"]


def test_a_module_whose_call_goes_on_in_its_class_is_found_once():
    looking = Looking()
    Around(looking)(np.ones((2, 3)))
    assert looking.layers == ["Looking", "Around"]


def test_a_function_in_a_sequential_is_the_layer_and_has_its_output():
    found = []

    def noting(x):
        found.append((place(), [titled(layer) for layer in running()]))
        return x

    tg.nn.Sequential(tg.nn.Linear(2, 2, rng=0), noting)(np.ones((2, 3)))
    [(at, layers)] = found
    assert layers == ["noting", "Sequential"]
    assert (at.layer, at.output) == ("noting", "A")
    assert at.file == __file__
    assert at.text.startswith("found.append(")


def test_outside_of_layers_there_is_the_line_alone():
    at = place()
    assert at.text == "at = place()"
    assert at.layer == at.output == ""
    assert list(running()) == []


def test_the_line_is_the_users_even_if_code_of_numpy_is_nearer():
    code = compile("place()", np.__file__, "eval")
    at = eval(code)
    assert at.text == "at = eval(code)"
