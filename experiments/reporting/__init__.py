"""Results of runs as statistics, figures, videos and reports."""
