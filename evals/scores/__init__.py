"""FID, KID, precision and recall and the others, from features and statistics."""
