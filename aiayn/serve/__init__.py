"""Trained models behind HTTP: the engine, the dialects that clients speak, the page."""
