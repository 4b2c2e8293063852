"""From text to rows (§5.1)."""
