"""Features of images: weights, extractors, and a classifier that is trained on the data itself."""
