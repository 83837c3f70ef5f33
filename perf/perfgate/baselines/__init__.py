"""Stored baselines: which times to judge and how, missing and renamed cases, history, the gate's own test.

Door (what other rooms may import): ``history``, ``missing_cases``, ``report``, ``selftest``, ``store``,
``timing_judge``.
"""
