"""Which measure sees grokking coming: alarms, one rule for all measures, and what each gains over three baselines.

The order of reading: `watched` (which runs, the event, the clock), `admissible` (which measures), `alarm` (when a
measure rings), `threshold` (at what height, set on other cells and other seeds), `settings_alone` (the baseline
without a measure), `judged` (what alarms come to, with `resampling`), `ranking` (gain over the best baseline),
`verdict`, `words` and `figure`. All pure.
"""
