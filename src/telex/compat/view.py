"""view.py."""
