"""Property tests are the same in every `make test`, new and many in `make deep`, few on each mutant."""

from hypothesis import Phase, settings

collect_ignore = ["mutants.py"]  # it needs the tool of `make mutants`

settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("deep", deadline=None, max_examples=3_000)
phases = [Phase.explicit, Phase.generate]  # a failure is enough, it need not be the shortest
settings.register_profile("few", deadline=None, derandomize=True, max_examples=10, phases=phases)
settings.load_profile("same")
