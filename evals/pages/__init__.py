"""Pages: tables as Markdown, HTML and drawings, and the files of results/."""
