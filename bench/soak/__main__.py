"""Run a soak, print a line a minute and a summary: `python -m bench.soak --help`.

The exit status is 1 if anything that was acknowledged is lost, doubled, half-written or out of
order, or if a follower missed an event or was told one twice.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from bench.data import fill

from . import report
from .client import Client, Cut
from .faults import FULL_SECONDS, LOCK_SECONDS, Disk, Server, lock
from .followers import Follower
from .report import Minute
from .tally import Tally
from .writers import Writer

HEALTH_SECONDS = 1
MINUTE_SECONDS = 60
END_SECONDS = 300  # for the followers to come to the end


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--server", choices=("production", "local"), default="production")
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--followers", type=int, default=500)
    parser.add_argument("--kills", type=float, default=1, help="a minute; default 1")
    parser.add_argument(
        "--every", type=float, default=10, help="minutes between two locks, and two full disks"
    )
    parser.add_argument("--gigabytes", type=float, default=8, help="of the disk; default 8")
    parser.add_argument("--folder", type=Path, help="for disk image and log; default: a new one")
    return parser.parse_args()


class Soak:
    def __init__(self, options: argparse.Namespace, disk: Disk, log: Path) -> None:
        self.options, self.disk = options, disk
        self.tally = Tally()
        self.server = Server(options.server, disk.place / "confab.db", log, self.tally)
        self.minutes: list[Minute] = []
        self._began = time.monotonic()

    async def run(self) -> int:
        """Returns how many conversations were read back."""
        fill(self.server.database)
        await self.server.start()
        options, port, stopping = self.options, self.server.port, asyncio.Event()
        writers = [
            Writer(f"writer {number}", port, self.tally, stopping)
            for number in range(options.writers)
        ]
        followers = [
            Follower(number, writers, port, self.tally) for number in range(options.followers)
        ]
        writing = [asyncio.create_task(writer.run()) for writer in writers]
        following = [asyncio.create_task(each.run(stopping)) for each in followers]
        minutes = min(options.every, options.minutes) * MINUTE_SECONDS
        around = [
            asyncio.create_task(work)
            for work in (
                self.server.watch(),
                self.watch_health(),
                self.watch_minutes(),
                self.kill_often(),
                repeat(minutes, 0.3, lambda: lock(self.server.database, self.tally)),
                repeat(minutes, 0.7, lambda: self.disk.fill(self.tally)),
            )
        ]
        try:
            ended, _ = await asyncio.wait(
                [*around, *writing, *following],
                timeout=options.minutes * MINUTE_SECONDS,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in ended:  # none ends by itself but by an error
                task.result()
        finally:
            for task in around:
                task.cancel()
            await asyncio.gather(*around, return_exceptions=True)
        stopping.set()
        try:
            async with asyncio.timeout(END_SECONDS):  # which cancels them
                await asyncio.gather(*writing, *following)
        except TimeoutError:
            self.tally.note("event missing", "not all followers came to the end")
        self.note_minute()
        return await self.read_all_back(writers)

    async def read_all_back(self, writers: list[Writer]) -> int:
        self.server.kill()
        if not self.server.is_sound():
            self.tally.note("broken", "the file does not pass SQLite's checks")
        await self.server.start()
        return sum([await writer.read_all_back() for writer in writers])

    async def kill_often(self) -> None:
        """Kill the server at a random moment of each minute."""
        if self.options.kills:
            period = MINUTE_SECONDS / self.options.kills
            while True:
                moment = random.random() * period
                await asyncio.sleep(moment)
                await self.server.kill_and_start()
                await asyncio.sleep(max(0, period - moment))

    async def watch_health(self) -> None:
        client = Client(self.server.port)
        while True:
            began = time.monotonic()
            try:
                told = f"health {(await client.send('GET', '/health')).status}"
                self.tally.health.add(began)
            except Cut:
                told = "health not answered"
            self.tally.during(told)
            await asyncio.sleep(max(0, began + HEALTH_SECONDS - time.monotonic()))

    async def watch_minutes(self) -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(MINUTE_SECONDS)
            print(report.progress(self.tally, self.note_minute(), began), flush=True)

    def note_minute(self) -> Minute:
        number = (time.monotonic() - self._began) / MINUTE_SECONDS
        self.minutes.append(Minute(number, *self.server.memory(), self.server.size()))
        return self.minutes[-1]


async def repeat(seconds: float, share: float, fault: Callable[[], Awaitable[None]]) -> None:
    """Make the fault once in every `seconds`, after a share of them."""
    while True:
        began = time.monotonic()
        await asyncio.sleep(seconds * share)
        await fault()
        await asyncio.sleep(max(0, began + seconds - time.monotonic()))


def main() -> int:
    options = arguments()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="confab-soak-", dir="/var/tmp"))
    folder.mkdir(exist_ok=True)
    log = folder / "server.log"
    disk = Disk(folder, options.gigabytes)
    about = (
        f"`{options.server}`, {options.minutes:g} minutes, {options.writers} writers, "
        f"{options.followers} followers, {options.kills:g} kills a minute; every "
        f"{options.every:g} minutes a lock of {LOCK_SECONDS} s and a full disk for "
        f"{FULL_SECONDS} s."
    )
    print(f"{about} The server's log: {log}", flush=True)
    with disk.mounted():
        soak = Soak(options, disk, log)
        try:
            conversations = asyncio.run(soak.run())
        finally:
            soak.server.kill()
    print(report.summary(soak.tally, soak.minutes, about, conversations))
    return 0 if soak.tally.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
