"""What a world says."""

import os

# Between two parallel regions torch's idle threads spin, by default for milliseconds: on a few
# cores that is time taken from the emulators. It is read once, when torch is first imported.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
