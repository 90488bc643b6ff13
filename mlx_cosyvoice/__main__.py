"""`python -m mlx_cosyvoice` is the `mlx-cosyvoice` command."""

import sys

from mlx_cosyvoice.cli import main

sys.exit(main())
