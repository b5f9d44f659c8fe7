"""`python -m telex`, and the `telex` command."""

from __future__ import annotations

import sys

from telex.exceptions import MissingDependency


def main() -> None:
    """Run the command line; say so when the packages it needs are missing."""
    try:
        from telex.cli import commands
    except MissingDependency as error:
        sys.exit(f"telex: {error}")
    commands()


if __name__ == "__main__":
    main()
