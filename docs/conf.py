"""The site that `make docs` builds from this folder, with Sphinx."""

from perfgate import __version__

project = "perfgate"
author = "the perfgate authors"
version = release = __version__
extensions = ["myst_parser"]
html_theme = "furo"
html_title = f"perfgate {version}"
exclude_patterns = ["_build"]
myst_heading_anchors = 3  # a link to a heading that is not there is a warning, and a warning fails `make docs`
