"""What both ends share of sockets."""
