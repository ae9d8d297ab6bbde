"""Which protocol a client's connection speaks, told from its first bytes. Pure."""

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def is_h2_preface(data: bytes) -> bool | None:
    """Whether HTTP/2 begins here with prior knowledge (RFC 9113 section 3.4); None while it is too short to tell."""
    if len(data) < len(_PREFACE):
        return None if _PREFACE.startswith(data) else False
    return data.startswith(_PREFACE)
