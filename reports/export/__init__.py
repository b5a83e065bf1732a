"""Files for other programs and for the terminal: CSV, Parquet, Markdown, LaTeX, JSON."""
