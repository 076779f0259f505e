"""Images as arrays: reading them from anywhere, and zips of them."""
