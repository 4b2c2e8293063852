"""From text to scores (§6)."""
