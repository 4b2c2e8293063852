"""From rows to checkpoints (§5.2, §5.3)."""
