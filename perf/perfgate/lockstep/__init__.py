"""Two environments in turns: pairs of worker processes, the schedule of a time budget, the protocol between them.

Door (what other rooms may import): ``channel``, ``child_process``, ``comparison``, ``environments``,
``fresh_process``, ``report``, ``worker_client``.
"""
