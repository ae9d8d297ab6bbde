"""Objects from a cluster's API server, kept by watching: what `milliroute control --kubernetes` reads and answers.

- `reflector` (pure) says what to ask next and takes the answers; `holding` keeps the objects of one kind as values.
- `framing`, `answers`, `tree`, `resources` and `backoff` (pure) are what it is made of: lines, JSON, kinds, waits.
- `api` (rim) asks, with the configuration, TLS and auth of lightkube; `following` drives one reflector over it.
- `source` puts all kinds together into Objects; it has no moment in which what is known becomes less known.
- `lease` (pure) and `leader` elect the replica that writes; `reports` (pure) and `writer` say what became of an object.

"""
