"""Property tests are the same in every `make test`, and new and many in `make deep`."""

from hypothesis import settings

settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("deep", deadline=None, max_examples=3_000)
settings.load_profile("same")
