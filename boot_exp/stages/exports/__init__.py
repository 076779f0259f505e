"""A student as a folder that others run without this project: diffusers, or torch alone."""
