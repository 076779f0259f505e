"""Judges images: FID, KID, precision and recall, leaderboards and reports. Imports nothing of boot_exp."""
