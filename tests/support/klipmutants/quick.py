"""A pytest plugin for the runs with mutants: property tests draw the same few examples each time.

The processes that try a mutant are forked from one that has imported everything; a garbage collection would copy all
of that for each of them.
"""

import gc

from hypothesis import Phase, settings

gc.disable()

settings.register_profile(
    "mutants", derandomize=True, database=None, deadline=None, max_examples=25, phases=[Phase.explicit, Phase.generate]
)
settings.load_profile("mutants")
