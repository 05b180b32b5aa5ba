"""A network taken apart: what it computes with, how much of it, and what breaks when which part is removed."""
