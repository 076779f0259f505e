"""What gin configures and DVC runs: one file a stage, each built whole before it touches a file."""
