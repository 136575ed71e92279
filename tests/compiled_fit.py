"""A plugin for pytest, ``-p tests.compiled_fit``: every training by `fit` runs compiled."""

import tinygrad_dls as tg


def pytest_configure():
    tg.fit.__kwdefaults__["compile"] = True
