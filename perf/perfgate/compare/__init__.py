"""Pure functions: two records and what may differ -> the verdict of a metric and of a case; intervals.

Door (what other rooms may import): every module.
"""
