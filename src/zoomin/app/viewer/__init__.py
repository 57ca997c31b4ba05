"""`zoomin view`: a page on one local port that pans and zooms, and shows where the model looked."""
