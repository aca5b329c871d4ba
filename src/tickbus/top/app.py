"""The tables on a terminal, once a second, with textual."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from tickbus.errors import MissingExtraError, TickbusError

if TYPE_CHECKING:
    from tickbus.top.tables import Table, Tables

__all__ = ["make"]


def make(name: str, tables: Tables, every_s: float = 1.0) -> Any:
    """
    The application: one table under the other; q ends it, p holds it, a second p lets it go on.

    Raises:
        MissingExtraError: textual is not installed.
    """
    try:
        from textual.app import App, ComposeResult
        from textual.binding import Binding, BindingType
        from textual.containers import VerticalScroll
        from textual.widgets import DataTable, Footer, Header, Static
    except ImportError as error:
        raise MissingExtraError("tickbus top without --once or --json", "ops") from error

    class Top(App[None]):
        CSS = """
        DataTable { height: auto; margin: 0 0 1 0; }
        .title { text-style: bold; color: $accent; }
        """
        BINDINGS: ClassVar[list[BindingType]] = [
            Binding("q", "quit", "quit"),
            Binding("p", "pause", "pause"),
        ]

        def __init__(self) -> None:
            super().__init__()
            self.title = f"tickbus {name}"
            self._held = False
            self._shown: dict[int, tuple[Static, DataTable[str]]] = {}

        def compose(self) -> ComposeResult:
            yield Header(show_clock=True)
            yield VerticalScroll(id="tables")
            yield Footer()

        async def on_mount(self) -> None:
            await self.look()
            self.set_interval(every_s, self.look)

        def action_pause(self) -> None:
            self._held = not self._held
            self.sub_title = "held" if self._held else ""

        async def look(self) -> None:
            """Make the tables anew."""
            if self._held:
                return
            try:
                found = tables.look()
            except TickbusError as error:
                # The bus has gone; what it was last stays to be read.
                self.sub_title, self._held = str(error), True
                return
            for at, table in enumerate(found):
                await self._show(at, table)

        async def _show(self, at: int, table: Table) -> None:
            if at not in self._shown:
                title = Static(table.title, classes="title")
                grid: DataTable[str] = DataTable(cursor_type="none", show_cursor=False)
                grid.add_columns(*table.headings)
                self._shown[at] = (title, grid)
                await self.query_one("#tables", VerticalScroll).mount(title, grid)
            title, grid = self._shown[at]
            title.update(table.title)
            grid.clear()
            for row in table.rows:
                grid.add_row(*row)

    return Top()
