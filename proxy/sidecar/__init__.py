"""Connections that iptables led here, and what they are to a proxy beside an app."""
