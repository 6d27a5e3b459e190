"""What each page does: a visit in, an outcome out."""
