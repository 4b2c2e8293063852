"""Fault harnesses: the long forms behind `make faults`."""
