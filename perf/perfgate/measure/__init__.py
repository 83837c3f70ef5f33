"""One call measured: rounds, timers, clocks, memory, operator counts, output digests, injected faults.

Door (what other rooms may import): every module.
"""
