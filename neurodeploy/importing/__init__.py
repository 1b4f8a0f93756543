"""Networks of other tools: lava-dl's `.net` and NIR files, read without trusting them."""
