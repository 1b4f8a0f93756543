"""From a measured chip back to lost accuracy, with only the knobs that the chip has."""
