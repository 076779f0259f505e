"""The stages that gin configures and DVC runs, one file each. A stage is built completely before it touches a file."""
