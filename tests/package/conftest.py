"""What is installed is looked at with what the whole-binary tests have: their harness."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "system"))
