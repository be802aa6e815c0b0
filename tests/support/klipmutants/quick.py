"""A pytest plugin for the runs with mutants: property tests draw the same few examples each time."""

from hypothesis import Phase, settings

settings.register_profile(
    "mutants", derandomize=True, database=None, deadline=None, max_examples=25, phases=[Phase.explicit, Phase.generate]
)
settings.load_profile("mutants")
