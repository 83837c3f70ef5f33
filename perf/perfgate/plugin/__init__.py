"""The only part that imports pytest: hooks, options, and one module for each mode of a run.

Door (what other rooms may import): ``case_tables``, ``command_line``, ``options``, ``public``, ``report_command``.

``perfgate.plugin`` is the plugin's name (an entry point, a conftest's ``pytest_plugins``, ``-p``); its hooks stand in
:mod:`perfgate.plugin.entry` and, for a session that measures, in :mod:`perfgate.plugin.hooks`.

PYTEST_DONT_REWRITE: there is nothing to rewrite, and pytest warned of it when ``python -m perfgate`` had imported it.
"""

pytest_plugins = ["perfgate.plugin.entry"]
