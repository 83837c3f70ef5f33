"""What an offline GPU machine is given (a bundle), what it runs in bounded stages, and what is made of the results."""

from __future__ import annotations


class BundleError(Exception):
    """A bundle cannot be built or used; the message says what was found, what is allowed and what to do next."""


class EvidenceError(Exception):
    """Results that cannot be used; the message says why and what to do next."""
