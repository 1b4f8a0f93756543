"""neurodeploy: from a PyTorch spiking network to neuromorphic chips, and how well it will work there."""

__version__ = "0.1.0"
