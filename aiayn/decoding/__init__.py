"""From a model to text (§6.1)."""
