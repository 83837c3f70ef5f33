"""Data: cases, records, metrics, fingerprints; validation and atomic writes. Imports the standard library alone.

Door (what other rooms may import): every module.
"""
