"""Where a call comes from: what errors and pictures say of the layer and the line."""

import numpy as np

import tinygrad_dls as tg
from tinygrad_dls.graph.call_site import find_call_site, running_layers
from tinygrad_dls.nn.module import title_of


class Looking(tg.nn.Module):
    """A layer that notes where it was called from."""

    def __call__(self, x):
        self.layers = [title_of(layer) for layer in running_layers()]
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
        found.append((find_call_site(), [title_of(layer) for layer in running_layers()]))
        return x

    tg.nn.Sequential(tg.nn.Linear(2, 2, rng=0), noting)(np.ones((2, 3)))
    [(at, layers)] = found
    assert layers == ["noting", "Sequential"]
    assert (at.layer, at.output) == ("noting", "A")
    assert at.file == __file__
    assert at.text.startswith("found.append(")


def test_outside_of_layers_there_is_the_line_alone():
    at = find_call_site()
    assert at.text == "at = find_call_site()"
    assert at.layer == at.output == ""
    assert list(running_layers()) == []


def test_the_line_is_the_users_even_if_code_of_numpy_is_nearer():
    code = compile("find_call_site()", np.__file__, "eval")
    at = eval(code)
    assert at.text == "at = eval(code)"
