"""A pytest plugin for ``./dev fuzz``: hypothesis tries ``FUZZ_CASES`` examples per property."""

import os

from hypothesis import settings

settings.register_profile("fuzz", max_examples=int(os.environ["FUZZ_CASES"]), deadline=None)
settings.load_profile("fuzz")
