"""What the report's page is made of: HTML, tables, SVG, a style sheet and a script. Internal."""
