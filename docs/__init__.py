"""The documentation: pages in Markdown, and what generates the reference."""
