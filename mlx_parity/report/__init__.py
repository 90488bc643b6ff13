"""A run on the terminal, as plain data, as Markdown and as one HTML file."""
