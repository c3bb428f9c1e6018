"""What a capture runs before its first batch, and again when it resumes, on each rank and pass."""

CHECK_ROWS = [2, 4, 2]  # rows of each run on a few stimuli: two traced ones, and a plain one
CHECKS = len(CHECK_ROWS)
CHECKED = sum(CHECK_ROWS)
