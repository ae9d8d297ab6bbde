"""`milliroute check`."""
