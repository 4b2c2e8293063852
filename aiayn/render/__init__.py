"""Markdown, and the style of pictures."""
