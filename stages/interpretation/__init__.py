"""What tuned context vectors are near, and where text features have moved."""
