"""What a network means (Network), what a chip stores (Program), and the folder that carries both (artifact)."""
