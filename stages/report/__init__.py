"""The report: statistics of rows, figures, the page. No tensor library here."""
