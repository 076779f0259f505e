"""Networks: shapes and layers, no diffusion."""
