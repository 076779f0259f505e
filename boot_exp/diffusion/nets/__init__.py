"""Networks: the U-Net, its layers that read a guidance weight, and embeddings of a scalar."""
