"""Ratios against peers and against the limit, each in one run; see ``make bench``."""
