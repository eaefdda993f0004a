"""Puts the recipe of the default model on the path; it is a folder of scripts, not a package."""

import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "tools" / "default_model"
sys.path.insert(0, str(FOLDER))
