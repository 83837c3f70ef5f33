"""Stored baselines: which times to judge and how, missing and renamed cases, history, the gate's own test.

Door (what other rooms may import): ``history``, ``missing_cases``, ``new_baseline``, ``report``,
``selftest``, ``store``, ``timing_judge``.
"""
