"""What people have marked: the ROI of an image at any region and scale."""
