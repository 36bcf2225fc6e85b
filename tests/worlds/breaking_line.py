"""A line to a server that breaks: forwards bytes until so many were sent, then hangs up and is gone."""

import contextlib
import socket
import threading
from types import TracebackType


class BreakingLine:
    """Listens on `port` while it is entered; `sent` counts the bytes that clients sent."""

    def __init__(self, host: str, port: int, breaks_after: int) -> None:
        self._server = (host, port)
        self._breaks_after = breaks_after
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.sent = 0
        self.is_broken = False

    def __enter__(self) -> "BreakingLine":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hang_up()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                self._sockets += [client, server]
                threading.Thread(target=self._forward, args=(client, server, True), daemon=True).start()
                threading.Thread(target=self._forward, args=(server, client, False), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, is_sent: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(4096):
                if is_sent:
                    self.sent += len(data)
                    if self.sent > self._breaks_after:
                        self.is_broken = True
                        self._hang_up()
                        return
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def _hang_up(self) -> None:
        for each in [self._listener, *self._sockets]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
