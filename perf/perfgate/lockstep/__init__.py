"""Two environments in turns: pairs of worker processes, the schedule of a time budget, the protocol between them."""
