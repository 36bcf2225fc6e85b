"""What runs: one file is one shell command that reads, calls and writes."""
