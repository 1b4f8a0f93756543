"""Comparison of runs: by value (`compare`), and of any two ways to compute a network (`neurodeploy.compare.stream`).

`compare` holds two Recordings of one Program to equality. The rest of the folder compares any two of the PyTorch
network, the Network, the reference, the engine, vendors' simulators and imported runs, layer by layer and step by
step, and names what makes them differ where it can prove it.
"""

from neurodeploy.compare.by_value import Comparison as Comparison
from neurodeploy.compare.by_value import Divergence as Divergence
from neurodeploy.compare.by_value import LayerComparison as LayerComparison
from neurodeploy.compare.by_value import compare as compare
