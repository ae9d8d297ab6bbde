"""The operator's verbs: `milliroute run | control | proxy | split | demo | version`.

- `entry` is the console script: it answers `version`, becomes a proxy, or loads the rest.
- `commands` are the verbs and their flags (click); `run` is the control service with a proxy as its child.
- `manifest` finds and replaces weights in the text of a file, `rewrite` puts a file in place atomically.
- `proxies` asks proxies for what they see, `rows` merges that with the files, `render` prints it.
"""

from milliroute.control.cli.entry import main

__all__ = ["main"]
