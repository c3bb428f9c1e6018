"""Networks: what a torch network executes, its layers, and the verb ``profile``."""
