"""Scenarios: from a TOML file to a machine that runs."""
