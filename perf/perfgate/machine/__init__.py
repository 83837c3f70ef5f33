"""This computer: its accelerator, health, environment, pinning, and the errors of its devices."""
