"""What is read off weights and a task: definitions, and the one table of what exists."""
