"""Stored baselines: which times to judge and how, missing and renamed cases, history, the gate's own test."""
