"""The site that `make docs` builds from this folder, with Sphinx."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["version"]
found = re.search(VERSION["pattern"], (ROOT / VERSION["path"]).read_text(encoding="utf-8"))
assert found is not None, f"{VERSION['path']} does not begin with a version"

project = "perfgate"
author = "the perfgate authors"
version = release = found["version"]
extensions = ["myst_parser"]
html_theme = "furo"
html_title = f"perfgate {version}"
exclude_patterns = ["_build"]
myst_heading_anchors = 3  # a link to a heading that is not there is a warning, and a warning fails `make docs`
