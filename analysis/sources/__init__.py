"""Where runs are read from: one sweep's folder, several as one, or a group at Weights & Biases."""
