"""`python -m reference.synthetic`: write a synthetic checkpoint."""

import signal
import sys

from reference.synthetic.checkpoint import main

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that clean-up runs
    sys.exit(main())
