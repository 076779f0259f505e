"""What must hold of every page that evals writes."""

import re
from html.parser import HTMLParser


class _Balance(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in ("meta", "img", "link", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def assert_tags_are_balanced(page: str) -> None:
    """Every tag that is opened is closed, in turn."""
    balance = _Balance()
    balance.feed(page)
    assert balance.open == []


def assert_nothing_is_fetched(page: str) -> None:
    """Pictures are part of the page; what else it names are places in it, and links that a reader may follow."""
    targets = re.findall(r"""(?:src|action|srcset|poster)\s*=\s*["']([^"']*)""", page)
    targets += re.findall(r"url\(\s*[\"']?([^)\"']*)", page)
    targets += re.findall(r"""<(?!a )[^>]*href\s*=\s*["']([^"']*)""", page)
    assert targets and all(target.startswith(("data:", "#")) for target in targets)
    links = re.findall(r"""<a [^>]*href\s*=\s*["']([^"']*)""", page)
    assert links and all(link.startswith(("#", "https://arxiv.org/abs/")) for link in links)
    ids = re.findall(r' id="([^"]*)"', re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL))
    assert len(ids) == len(set(ids)) and {link[1:] for link in links if link[0] == "#"} <= {*ids}
    assert not re.search(r"<(iframe|object|base|embed)\b|<script [^>]*src|@import", page)
    assert "default-src 'none'" in page, "a browser refuses whatever was missed"
