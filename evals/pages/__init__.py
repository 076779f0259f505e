"""Pages: what a table looks like as Markdown, HTML and drawings, and the files of results/."""
