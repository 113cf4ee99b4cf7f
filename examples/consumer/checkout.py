"""Puts the repository that this example is part of on the path: it has the typed reader and the scrape configuration.

A program in a repository of its own takes a copy of `components/outputs.py` instead, or has a checkout (a git
submodule, say) and this line with its place.
"""

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.append(str(REPOSITORY))
