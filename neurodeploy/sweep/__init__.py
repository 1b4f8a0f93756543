"""Accuracy against noise over populations of virtual chips: plans, runs that resume, a store, statistics."""
