"""Sphinx's configuration. `make docs` builds the site from the repository's Markdown, without a network."""

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(Path(__file__).parent))

project = "boot_exp"
author = "the maintainers of boot_exp"
extensions = ["myst_parser", "reference"]
root_doc = "docs/index"
include_patterns = ["docs/**", "results/*/*.md", "README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
exclude_patterns = ["docs/_site/**", "docs/reasons/**", "**/conf.py"]
source_suffix = {".md": "markdown"}
myst_heading_anchors = 4
suppress_warnings = ["myst.header", "misc.highlighting_failure"]
html_theme = "furo"
html_title = "boot_exp"
html_show_sphinx = False
html_copy_source = False
