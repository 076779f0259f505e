"""Tables: rows of scores over training seeds, what they cost, and what the literature reports."""
