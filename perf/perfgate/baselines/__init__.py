"""Stored baselines: which times to judge and how, whom a change of the code concerns, missing and renamed cases,
slow creep, history, the gate's own test.

Door (what other rooms may import): ``anchor``, ``code_suspects``, ``history``, ``missing_cases``, ``new_baseline``,
``report``, ``selftest``, ``store``, ``timing_judge``.
"""
