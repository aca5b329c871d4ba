"""
The tasks behind ``./dev``, with the standard library alone.

They run before anything is installed, so nothing here may import a third-party package or tickbus.

- :mod:`dev.machine`: what must be on the machine, and the environment every command gets
- :mod:`dev.virtualenv`: ``.venv`` in the checkout, and what is installed there
- :mod:`dev.extension`: the compiled half, rebuilt only when its sources changed
- :mod:`dev.steps`: run commands one after the other, say what runs, sum up
- :mod:`dev.checks`: the commands that check the code, in the order of ``./dev test``
- :mod:`dev.tasks`: one function per task
- :mod:`dev.coverage`: which lines the tests reach, and whether the docs account for the others
- :mod:`dev.taxonomy_table`: the table of event types in the docs
"""
