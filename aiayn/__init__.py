"""Attention Is All You Need (Vaswani et al. 2017), reproduced in JAX."""

__version__ = "0.1.0"
