"""What is made of finished runs: loading, figures, reports."""
