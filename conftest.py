"""Names the plugins of this project."""

pytest_plugins = ["perfgate.plugin", "fixtures.plugin"]
