"""Spiking networks in PyTorch: neurons with parametric surrogate gradients, potential adjustment, training, tracing."""
