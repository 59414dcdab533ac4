"""The witness of one process: starts it, stops it with patience, and writes down how it ended.

It is started as `python -I -S witness.py ATTEMPT STOP_PLAN WORK COMMAND...` and outlives the gateway. On descriptor 3
it inherits a locked file: while that lock is held, by it or by the program, the attempt is alive. SIGTERM or SIGINT
asks it to stop the program by the plan, pairs of signal and seconds such as `2:30,15:10,9:0`. Being the program's
parent, it can never signal a stranger. Standard library only, and little of it: it stands between a request and its
start.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time

WATCHED = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT}
BLOCKED = WATCHED | {signal.SIGHUP}
TO_DEFAULT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE, signal.SIGXFSZ)
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
SAMPLE_PERIOD = 1.0
ORPHAN_PATIENCE = 10.0
LOG = 1  # our own standard output is the log file


def prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def start(folder: str, work: str, command: list[str]) -> int:
    """The program's pid. Its note is on disk before its first line runs."""
    witness = os.getpid()
    wait_end, go_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(go_end)
        become(work, command, witness, wait_end)
    os.close(wait_end)
    write(folder, "process.json", note_of(pid, witness))
    os.write(go_end, b"!")
    os.close(go_end)
    return pid


def become(work: str, command: list[str], witness: int, wait_end: int) -> None:
    """In the child: a session of its own that dies with the witness, then the program."""
    try:
        os.setsid()
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == witness and os.read(wait_end, 1):
            for number in TO_DEFAULT:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            os.chdir(work)
            os.execv(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]} cannot be started: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def note_of(pid: int, witness: int) -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:  # noqa: PTH123 - pathlib costs 10 ms to import
        boot = file.read().strip()
    return (
        f'{{"pid": {pid}, "start": {start_time(pid)}, "witness": {witness}, "witness_start": {start_time(witness)}, '
        f'"boot": "{boot}", "at": {time.time():.6f}}}'
    )


def start_time(pid: int) -> int:
    with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
        return int(file.read().rpartition(b")")[2].split()[19])


def write(folder: str, name: str, text: str) -> None:
    """Durable and atomic, as app.runtimes.local.files writes."""
    fresh = f"{folder}/.{name}"
    with open(fresh, "w") as file:  # noqa: PTH123
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.rename(fresh, f"{folder}/{name}")  # noqa: PTH104
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


class Stop:
    """The way from a request to stop to SIGKILL."""

    def __init__(self, plan: str) -> None:
        steps = [step.split(":") for step in plan.split(",")]
        self._steps = [(int(number), float(patience)) for number, patience in steps]
        self._due: float | None = None
        self.sent: list[str] = []

    @property
    def asked(self) -> bool:
        return self._due is not None

    def ask(self) -> None:
        if self._due is None:
            self._due = time.monotonic()

    def step(self, pid: int) -> float:
        """Send what is due; the seconds until the next signal is."""
        while self._due is not None and self._steps and time.monotonic() >= self._due:
            number, patience = self._steps.pop(0)
            if number:
                os.kill(pid, number)
                self.sent.append(signal.Signals(number).name)
            self._due = time.monotonic() + patience
        return self._due - time.monotonic() if self._due is not None and self._steps else SAMPLE_PERIOD


class Samples:
    """Once a second: how long the log is (16 bytes: milliseconds, size), and how many were killed for memory."""

    def __init__(self, index: str) -> None:
        self._index = os.open(index, os.O_RDWR | os.O_CREAT, 0o600)
        self._count = os.fstat(self._index).st_size // 16
        self._last = os.pread(self._index, 16, (self._count - 1) * 16) if self._count else b""
        self._due = 0.0
        self._kills = (oom_kills(), oom_kills())

    def take(self, *, now: bool = False) -> None:
        if not now and time.monotonic() < self._due:
            return
        self._due = time.monotonic() + SAMPLE_PERIOD
        self._kills = (self._kills[1], oom_kills())
        size = os.fstat(LOG).st_size.to_bytes(8, "big")
        if size != self._last[8:]:
            # Never before the last one, so that a search by halves stays right when the clock is set back.
            at = max(round(time.time() * 1000).to_bytes(8, "big"), self._last[:8])
            try:
                self._count += os.pwrite(self._index, at + size, self._count * 16) // 16
                self._last = at + size
            except OSError:
                pass  # a full disk costs a sample, never the program

    @property
    def saw_oom_kill(self) -> bool:
        """Whether the kernel killed a process for memory within the last two seconds."""
        return oom_kills() > self._kills[0]


def oom_kills() -> int:
    try:
        with open("/proc/vmstat", "rb") as file:  # noqa: PTH123
            return next((int(line.split()[1]) for line in file if line.startswith(b"oom_kill ")), 0)
    except OSError:
        return 0


def watch(pid: int, stop: Stop, samples: Samples) -> None:
    """Return when the program has ended; it is left unreaped, so its group's number cannot be used again."""
    while True:
        samples.take()
        got = signal.sigtimedwait(WATCHED, max(0.0, min(SAMPLE_PERIOD, stop.step(pid))))
        if got is not None and got.si_signo != signal.SIGCHLD:
            stop.ask()
        while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if ended.si_pid == pid:
                return
            os.waitpid(ended.si_pid, 0)


def bury(pid: int) -> int:
    """Kill what is left of the group and every orphan that came to us; the program's wait status."""
    kill(-pid)  # the group at once; below, those that had left it
    status = os.waitpid(pid, 0)[1]
    deadline = time.monotonic() + ORPHAN_PATIENCE
    while time.monotonic() < deadline:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                kill_children()
                time.sleep(0.005)
        except ChildProcessError:
            break
    return status


def kill_children() -> None:
    with open(f"/proc/self/task/{os.getpid()}/children") as file:  # noqa: PTH123
        for child in file.read().split():
            kill(int(child))


def kill(pid: int) -> None:
    try:  # noqa: SIM105 - contextlib costs an import
        os.kill(pid, signal.SIGKILL)
    except OSError:
        pass  # a group that was never made, or a child of another user


def note_end(folder: str, status: int, stop: Stop, *, oom: bool) -> None:
    code = os.waitstatus_to_exitcode(status)
    name = "null" if code >= 0 else f'"{signal_name(-code)}"'
    sent = ", ".join(f'"{one}"' for one in stop.sent)
    text = (
        f'{{"exit_code": {code if code >= 0 else "null"}, "signal": {name}, "asked": {str(stop.asked).lower()}, '
        f'"sent": [{sent}], "oom": {str(oom).lower()}, "at": {time.time():.6f}}}'
    )
    while True:
        try:
            return write(folder, "exit.json", text)
        except OSError:  # the disk is full, say: the end must not be lost, so it waits
            time.sleep(1)


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"


def main(folder: str, plan: str, work: str, *command: str) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    stop, samples = Stop(plan), Samples(f"{folder}/../../log.index")
    samples.take()
    pid = start(folder, work, list(command))
    watch(pid, stop, samples)
    oom = samples.saw_oom_kill
    status = bury(pid)
    samples.take(now=True)
    note_end(folder, status, stop, oom=oom)


if __name__ == "__main__":
    main(*sys.argv[1:])
