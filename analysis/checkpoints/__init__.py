"""Networks of this family from files: our runs and snapshots, the paper's .pth, TransformerLens, other layouts.

`read.read` is the way in, `splits.rank_splits` finds the split that a file does not name, `export` writes
TransformerLens's names. Nothing in a file is ever executed.
"""
