"""What Telex costs, beside what others cost. See README.md in this folder."""
