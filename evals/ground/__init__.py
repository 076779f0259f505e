"""The base of both packages: faults, files that are whole or absent, threads."""
