"""What both packages stand on: faults, files that are whole or absent, threads."""
