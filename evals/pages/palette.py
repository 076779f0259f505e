"""The colours of every page, light and dark, and of drawings, which take the page's."""

SERIES = 10
LIGHT = {
    **{"paper": "#fdfdfc", "ink": "#1d2126", "quiet": "#5c646d", "faint": "#8b939b", "rule": "#dfe2e5"},
    **{"series-0": "#0067a5", "series-1": "#00815a", "series-2": "#c8500a", "series-3": "#8a4a9e"},
    **{"series-4": "#8a6d00", "series-5": "#b0305c", "series-6": "#007c8a", "series-7": "#7b4b2a"},
    **{"series-8": "#4450b5", "series-9": "#5a5a5a", "shade": "#eef2f5"},
}
DARK = {
    **{"paper": "#15181b", "ink": "#e4e7ea", "quiet": "#98a1aa", "faint": "#6d757d", "rule": "#30363c"},
    **{"series-0": "#5db4ec", "series-1": "#3fc796", "series-2": "#ff9152", "series-3": "#c795da"},
    **{"series-4": "#d9b93f", "series-5": "#f57fa6", "series-6": "#45c6d4", "series-7": "#cf9f78"},
    **{"series-8": "#98a2f5", "series-9": "#b4b4b4", "shade": "#22282d"},
}
MARKERS = "os^Dvp<>Xh"
# Placeholders for the page's colours, so that one drawing serves the light page, the dark page and a file.
STAND_INS = {name: f"#0000{0xE0 + place:02x}" for place, name in enumerate(LIGHT)}
INK, RULE, PAPER = (STAND_INS[name] for name in ("ink", "rule", "paper"))


def in_page(svg: str) -> str:
    """Replaces a drawing's placeholders by variables of the page that it is part of."""
    return _coloured(svg, {name: f"var(--{name})" for name in LIGHT})


def on_paper(svg: str) -> str:
    """Replaces a drawing's placeholders by the light colours, for a file of its own."""
    return _coloured(svg, LIGHT)


def _coloured(svg: str, colours: dict[str, str]) -> str:
    for name, colour in colours.items():
        svg = svg.replace(STAND_INS[name], colour)
    return svg
