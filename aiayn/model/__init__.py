"""From rows to logits and their loss (§3, §5.4)."""
