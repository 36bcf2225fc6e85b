"""A TCP proxy in front of a real server, which can be made slow or to hang; it runs in a thread with an event loop of
its own.
"""

import asyncio
import threading
from contextlib import suppress
from typing import Self


class TcpProxy:
    """Forwards to a server; `delay_seconds` is added to what the server says, `is_hanging` keeps everything back."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self.delay_seconds = 0.0
        self.is_hanging = False
        self.open_count = 0
        self.most_open_count = 0
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop
        ).result()
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *error: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _stop(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0.01)  # transports are closed in a later turn

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open_count += 1
        self.most_open_count = max(self.open_count, self.most_open_count)
        ends, tasks = [writer], []
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._target)
            ends.append(server_writer)
            tasks.append(asyncio.create_task(self._forward(reader, server_writer, is_answer=False)))
            tasks.append(asyncio.create_task(self._forward(server_reader, writer, is_answer=True)))
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self.open_count -= 1
            for task in tasks:
                task.cancel()
            for end in ends:
                end.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool) -> None:
        held = bytearray()
        with suppress(OSError):
            while True:
                # It goes on reading while it keeps everything back, to notice who hangs up.
                try:
                    async with asyncio.timeout(0.02 if held else None):
                        data = await reader.read(65536)
                    if not data:
                        return
                    held += data
                except TimeoutError:
                    pass
                if is_answer and self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                if held and not self.is_hanging:
                    writer.write(bytes(held))
                    held.clear()
                    await writer.drain()
