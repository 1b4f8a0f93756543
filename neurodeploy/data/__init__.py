"""Data sets as integer arrays, split by seed into training and validation.

The test set is as published, in an order of chance where it lies class by class.
"""

from neurodeploy.data.sources import load_data_set as load_data_set
