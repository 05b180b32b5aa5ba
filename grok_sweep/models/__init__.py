"""Networks: named weights in the field's words, and their forward pass."""
