"""Run seimigrate as ``python -m seimigrate``."""

from __future__ import annotations

import sys

from seimigrate.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
