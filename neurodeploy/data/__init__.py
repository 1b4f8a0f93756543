"""Data sets as integer arrays, split by seed into training and validation; the test set is as published."""

from neurodeploy.data.sources import load_data_set as load_data_set
