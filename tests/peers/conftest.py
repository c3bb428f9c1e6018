collect_ignore = ["dadapy_dimensions.py"]  # runs in an environment that has DADApy
