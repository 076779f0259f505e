"""The base of both packages: faults and guards (faults.py), files that are whole or absent, threads."""
