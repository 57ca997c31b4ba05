"""`zoomin view`: a page on one local port that pans and zooms over images and shows where the model looked."""
