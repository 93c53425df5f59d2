"""The executable edition of "When Does Content-Based Routing Work?" (arXiv:2603.20997v2)."""

__version__ = "0.1.0"
