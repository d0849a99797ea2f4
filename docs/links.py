"""Checks a built site: every internal link and anchor exists, and nothing is loaded from outside.

``python docs/links.py docs/_build/html`` prints one line per broken link and exits with status 1.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


class Page(HTMLParser):
    """The anchors of a page, its links, and the addresses that a browser loads with it."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if tag in LOADED and LOADED[tag] in found and found.get("rel") not in ("index", "search"):
            self.loaded.append(found[LOADED[tag]])


def broken_links(site: Path) -> list[str]:
    """One line for every link to a missing file or anchor and every resource from elsewhere.

    Args:
        site: folder of HTML files. Links to other sites are not followed.
    """
    pages = {path.resolve(): Page(path.read_text("utf-8")) for path in sorted(site.rglob("*.html"))}
    root, found = site.resolve(), []
    for path, page in pages.items():
        for address in (*page.links, *page.loaded):
            problem = _problem(address, path, pages, address in page.loaded)
            if problem:
                found.append(f"{path.relative_to(root)}: {address} ({problem})")
    return list(dict.fromkeys(found))


def _problem(address: str, path: Path, pages: dict[Path, Page], loaded: bool) -> str:
    parts = urlsplit(address)
    if parts.scheme == "data":
        return ""
    if parts.scheme or parts.netloc:
        return "loaded from another site" if loaded else ""
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    target = target / "index.html" if target.is_dir() else target
    if not target.is_file():
        return "no such file"
    anchor = unquote(parts.fragment)
    if anchor and target in pages and anchor not in pages[target].anchors:
        return "no such anchor"
    return ""


def main(site: Path) -> int:
    """Prints what is broken; returns 1 if anything is, 2 where there is no site."""
    pages = len(list(site.rglob("*.html")))
    if not pages:
        print(f"{site} holds no HTML: build the site first", file=sys.stderr)
        return 2
    found = broken_links(site)
    print("\n".join([*found, f"{pages} pages, {len(found)} broken links"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
