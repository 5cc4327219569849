"""mkdocs hook that replaces links to files outside of docs/ by the names of these files.

In the repository such links work; the site has no repository to link to.
"""

import re

_OUT = re.compile(r"\[([^\]]+)\]\(\.\./([^)#\s]+)(?:#[^)\s]*)?\)")


def on_page_markdown(markdown, **_):
    """Return the page's text, with `[text](../path)` as `text (path in the repository)`."""
    return _OUT.sub(_named, markdown)


def _named(link):
    text, path = link[1], link[2]
    if text.strip("`") in (path, path.rpartition("/")[2]):
        return f"`{path}`"
    return f"{text} (`{path}` in the repository)"
