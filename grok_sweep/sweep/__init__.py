"""Sweeps: the plan, the claims on its runs, and the worker that trains them."""
