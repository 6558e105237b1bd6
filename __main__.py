"""``python -m reverie``, which is ``reverie``."""

import sys

from .experiments.cli.main import main

sys.exit(main())
