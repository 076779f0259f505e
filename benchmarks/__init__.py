"""Times boot_exp as ratios within one run: to the bare network calls, and to other libraries."""
