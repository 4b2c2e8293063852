"""What stages cost on this machine, in turns with peers; importing it loads nothing."""
