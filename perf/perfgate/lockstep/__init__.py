"""Two environments in turns: pairs of worker processes, the schedule of a time budget, the protocol between them.

Door (what other rooms may import): ``channel``, ``child_process``, ``code_recording``, ``comparison``,
``environments``, ``fresh_process``, ``report``, ``tracing``, ``worker_client``.
"""
