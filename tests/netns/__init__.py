"""Sidecars for real: network namespaces as pods, iptables as `milliroute iptables` writes it, unchanged clients.

`make netns` runs these as root; plain pytest skips them.
"""
