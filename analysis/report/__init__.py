"""The report on one run, and on several side by side: one page that needs no network, and every figure as files."""
