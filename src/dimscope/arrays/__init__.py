"""Arrays: points enter here, whatever kind of array holds them."""
