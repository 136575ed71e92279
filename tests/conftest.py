"""Property tests are the same in every `make test`, new and many in `make deep`, few on each mutant."""

import os
from importlib.util import find_spec

import pytest
from hypothesis import Phase, settings

import tinygrad_dls as tg
from tests.support.browser import BROWSER, NAMES
from tests.support.devices import DEVICES
from tests.support.latex import PDFLATEX

WITHOUT_JAX, WITHOUT_CUPY = (find_spec(name) is None for name in ("jax", "cupy"))
OF_BROWSERS = [
    "drawing/test_page_in_browser.py",
    "test_site.py",
    "views/test_views_in_browser.py",
    "test_notebooks_in_browser.py",
]
collect_ignore = ["mutants.py"]  # which needs the tool of `make mutants`
collect_ignore += ["engine/test_jax.py"] * WITHOUT_JAX + OF_BROWSERS * (BROWSER is None)
collect_ignore += ["derivations/test_latex.py"] * (PDFLATEX is None) + ["engine/test_cupy.py"] * WITHOUT_CUPY
WITH_PAGE = "PLAYGROUND" in os.environ  # set by `make test-playground`, which builds the page of what registries have
collect_ignore += ["playground/test_page.py"] * (not WITH_PAGE or BROWSER is None)

settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("deep", deadline=None, max_examples=3_000)
phases = [Phase.explicit, Phase.generate]  # a failure is enough, it need not be the shortest
settings.register_profile("few", deadline=None, derandomize=True, max_examples=10, phases=phases)
settings.load_profile("same")


def pytest_terminal_summary(terminalreporter):
    """Say what did not run, in a line that -q does not hide."""
    if WITHOUT_JAX:
        terminalreporter.write_line(
            'NOT RUN, without JAX: tests/engine/test_jax.py. pip install "tinygrad_dls[jax]"', red=True
        )
    if BROWSER is None:
        terminalreporter.write_line(
            f"NOT RUN, without a browser: tests/{', tests/'.join(OF_BROWSERS)}. Install one of {', '.join(NAMES)}",
            red=True,
        )
    if WITHOUT_CUPY:
        terminalreporter.write_line(
            'NOT RUN, without CuPy: tests/engine/test_cupy.py. pip install "tinygrad_dls[gpu]"', red=True
        )
    if not WITH_PAGE or BROWSER is None:
        why = "outside of `make test-playground`" if not WITH_PAGE else "without a browser"
        terminalreporter.write_line(f"NOT RUN, {why}: tests/playground/test_page.py.", red=True)
    if PDFLATEX is None:
        terminalreporter.write_line("NOT RUN, without pdflatex: tests/derivations/test_latex.py.", red=True)


@pytest.fixture
def flower():
    return tg.datasets.planar_flower()


@pytest.fixture(params=DEVICES, ids=lambda device: device.name)
def device(request):
    return request.param
