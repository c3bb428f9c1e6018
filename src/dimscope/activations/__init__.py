"""Activations: one array of points per layer, in memory or in a store on disk."""
