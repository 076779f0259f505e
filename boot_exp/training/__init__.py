"""The loop that every stage trains with, and the state that it keeps."""
