"""Diffusion distillation as declarative experiments: BOOT and the methods it is compared with."""
