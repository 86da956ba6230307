"""What a callback type is: the seam between a schedule and whatever it calls."""
