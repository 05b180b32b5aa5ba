"""Hydra launchers: each widens the same worker."""
