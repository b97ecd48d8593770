"""What was measured, as rows: ours against another's, round by round, and the bar for it."""

import dataclasses
import statistics


@dataclasses.dataclass
class Row:
    """One comparison. `bar` is the ratio that we aim for, at most or at least; None: no aim."""
    what: str
    other: str
    unit: str
    ours: list
    theirs: list
    bar: float | None = None
    at_least: bool = False

    @property
    def ratio(self):
        return statistics.median(self.ours) / statistics.median(self.theirs)

    @property
    def spread(self):
        """The least and the greatest ratio of one round."""
        ratios = [one / other for one, other in zip(self.ours, self.theirs)]
        return min(ratios), max(ratios)

    @property
    def holds(self):
        if self.bar is None:
            return None
        return self.ratio >= self.bar if self.at_least else self.ratio <= self.bar

    def aim(self):
        return "" if self.bar is None else f"{'≥' if self.at_least else '≤'} {self.bar:g}"

    def figures(self):
        """For JSON."""
        low, high = self.spread
        return {**dataclasses.asdict(self), "ratio": self.ratio, "low": low, "high": high,
                "holds": self.holds}


@dataclasses.dataclass
class Section:
    """What one section measured."""
    name: str
    title: str
    about: str
    rows: list
    # Every single measurement, in order.
    raw: list
    # What stands for us in it.
    ours: str = "Ringmain"
    # Further tables: a header and rows of text.
    details: list = dataclasses.field(default_factory=list)


def comparison(section):
    """Rows as a table: medians, their ratio, its spread by round, and whether the bar holds."""
    lines = [[row.what, f"{number(statistics.median(row.ours))} {row.unit}",
              f"{row.other}: {number(statistics.median(row.theirs))}", f"{row.ratio:.2f}",
              "–".join(f"{end:.2f}" for end in row.spread), row.aim(),
              {None: "", True: "yes", False: "**no**"}[row.holds]] for row in section.rows]
    return markdown(["", section.ours, "other", "ratio", "by round", "bar", "holds"], lines)


def markdown(header, lines):
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)


def number(value):
    """Three digits or more, and thousands apart."""
    if value >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 20 else f"{value:.2f}"


def medians(records, *names):
    """The median of each figure over the rounds, as text."""
    return [number(statistics.median(record[name] for record in records)) for name in names]
