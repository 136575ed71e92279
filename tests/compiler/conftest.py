"""What is built in C goes into a cache of the tests' own."""

import pytest


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    """One for each file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield
