"""neurodeploy: from a PyTorch spiking network to neuromorphic chips, and how well it will work there."""
