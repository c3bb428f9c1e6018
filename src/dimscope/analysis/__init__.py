"""Analysis: what is built on estimates of one cloud, or of two."""
