"""A hook of mkdocs: on the site, a link out of docs/ becomes the name of that file.

In the repository such links work as they stand; the site has no repository to point to.
"""

import re

_OUT = re.compile(r"\[([^\]]+)\]\(\.\./([^)#\s]+)(?:#[^)\s]*)?\)")


def on_page_markdown(markdown, **_):
    """The page's text, with `[text](../path)` as `text (path in the repository)`."""
    return _OUT.sub(_named, markdown)


def _named(link):
    text, path = link[1], link[2]
    if text.strip("`") in (path, path.rpartition("/")[2]):
        return f"`{path}`"
    return f"{text} (`{path}` in the repository)"
