"""The cost of each stage on this machine, in turns with peers."""
