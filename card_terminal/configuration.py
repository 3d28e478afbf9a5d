"""What the server wants this terminal to show: believed only if signed, and only if newer than what is here."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from card_terminal.protocol import TerminalConfig, Words, read_config
from card_terminal.store import Store

_UNCONFIGURED = TerminalConfig(
    version=0,
    instrument=Words(zh="分析测试仪器", en="Instrument"),
    unit=Words(zh="", en=""),
    price=Words(zh="", en=""),
)


class Configuration:
    """The configuration in force; a new one waits until it is applied."""

    def __init__(self, store: Store, *, server_key: Ed25519PublicKey) -> None:
        self._store = store
        self._server_key = server_key
        kept = store.fact("config")
        self.current = _UNCONFIGURED if kept is None else read_config(kept, key=server_key)
        self._offered: tuple[str, TerminalConfig] | None = None

    @property
    def version(self) -> int:
        """The newest version that this terminal has, applied or waiting."""
        return self._offered[1].version if self._offered else self.current.version

    def offer(self, message: str) -> None:
        """Take a signed configuration if it is newer. Raises SignatureError or MessageError."""
        config = read_config(message, key=self._server_key)
        if config.version > self.version:
            self._offered = (message, config)

    def apply(self) -> None:
        """Put a waiting configuration in force; called only while nobody uses the terminal."""
        if self._offered is not None:
            message, self.current = self._offered
            self._offered = None
            self._store.keep(config=message)
