"""A W&B workspace for a sweep: what stands on it, how wandb-workspaces says it, and the command that sends it."""
