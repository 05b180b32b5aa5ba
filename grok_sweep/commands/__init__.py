"""The commands of python -m grok_sweep, a module each: what it is called with, and what it does."""
