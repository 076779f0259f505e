"""What a network sees in images: its weights, the extractors, and a classifier trained on the data itself."""
