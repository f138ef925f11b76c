"""``python -m mpipool.cli``, where the console script is not installed."""

import sys

from mpipool.cli import main

sys.exit(main())
