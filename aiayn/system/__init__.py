"""The machine below: files, processes, hosts, signals, memory."""
