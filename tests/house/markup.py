"""What must hold of every page that evals writes."""

from html.parser import HTMLParser


class _Balance(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def assert_tags_are_balanced(page: str) -> None:
    """Every tag that is opened is closed, in turn."""
    balance = _Balance()
    balance.feed(page)
    assert balance.open == []
