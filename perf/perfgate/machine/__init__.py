"""This computer: its accelerator, health, environment, pinning, and the errors of its devices.

Door (what other rooms may import): ``accelerator``, ``device_errors``, ``device_health``, ``energy``, ``environment``,
``health``, ``pinning``, ``process_tree``, ``source_files``.
"""
