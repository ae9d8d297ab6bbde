"""The HTTP/1 codecs against their rules, against each other and against h11 by itself."""
