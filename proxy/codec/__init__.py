"""Wire formats: bytes in, heads and body bytes out. Pure; the fast codec takes only what it can prove plain."""
