"""The page of a sweep: maps with choosers, and the curves of the runs of a cell. Needs no network."""
