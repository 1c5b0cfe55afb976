"""The Rust side. Programs use `latency_monitor_rs.api`."""

def check_target(toml: str) -> None:
    """Raise `ValueError` if these keys make no target."""

def watch_log(level: str) -> None:
    """Keep what is logged at this level and above for `take_log`. The first call of a process decides."""

def take_log() -> list[tuple[str, str]]:
    """Take what was logged, as level and text. Of more than 1,000 entries the last are lost."""

class Monitor:
    """A monitor that has not begun."""

    def __init__(self, config_file: str | None, settings: list[tuple[str, str]]) -> None:
        """Read the configuration and put settings over it. Raise `ValueError` if it is wrong."""

    def add_target(self, toml: str) -> int:
        """Add a target, and return what `remove_target` takes. Raise `ValueError` if it is none."""

    def remove_target(self, handle: int) -> bool:
        """Stop probing a target. False if there is no such target."""

    def start(self) -> None:
        """Begin to listen and to probe. Raise `OSError` if it cannot."""

    def listening(self) -> tuple[list[str], list[str]]:
        """Return the addresses that it listens on, of TCP and of UDP."""

    def take(self, most: int, timeout: float) -> list[str] | None:
        """Wait so many seconds for records at most, and return them as JSON. None once it has ended."""

    def stop(self) -> None:
        """End, after the last records. Raise `RuntimeError` if a thread has failed."""
