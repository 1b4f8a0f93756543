"""Data sets as integer arrays, split by seed into training and validation; the test set is as published."""
