"""What `milliroute install` prints."""
