"""Serves the policies to the engine, which starts this file in this directory and not in the project's."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from policy.pack import serve

serve()
