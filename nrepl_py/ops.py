"""Every op, reply field, event, status and error shape of the protocol, declared once.

A request is a record tagged with its op's name. Its docstring, its fields (types, bounds and
descriptions), the record of its reply and the statuses that may come back are all the protocol
says of the op: validation, `describe`, the tables of `protocol.md`, `editors/protocol.json` and
the TypeScript types are derived from here (`python -m nrepl_py.generate`). Adding an op takes two
edits: its record here and its handler in `server/handlers.py`.

Units: times are seconds, sizes bytes. Lines count from 1, columns and cursors from 0 in code points.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType, field

PROTOCOL_VERSION = 1
SUBPROTOCOLS = {"nrepl.v1.json": "json", "nrepl.v1.msgpack": "msgpack"}

MAX_ID: Final = 128
"""Characters of an id, from the contract."""

Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID, description="chosen by the client")]
SessionRef = Annotated[str, Meta(min_length=1, max_length=MAX_ID, description="a session's id or name")]
Seconds = Annotated[float, Meta(ge=0, le=31_536_000)]
# A year's worth of seconds: past it, a number is a mistake and would overflow timers.
Line = Annotated[int, Meta(ge=1, le=10_000_000)]
Column = Annotated[int, Meta(ge=0, le=10_000_000)]
Cursor = Annotated[int, Meta(ge=0, description="offset into `code`, in code points")]
MimeType = Annotated[str, Meta(min_length=3, max_length=128, pattern=r"^[^\s/]+/[^\s/]+$")]

STATUSES: dict[str, str] = {
    "done": "the last reply to this request",
    "error": "the request was refused; the code follows and `message` says what to do",
    "need-input": "the eval waits for `stdin`; `prompt` and `password` say what for",
    "input-done": "the input asked for was given",
    "eval-error": "the code raised; `error` was sent before",
    "interrupted": "the eval ended because of an interrupt or a timeout",
    "timeout": "the eval ran longer than its `timeout`",
    "output-limit": "the eval wrote more than it may; it was interrupted, and the rest dropped",
    "cancelled": "a queued eval that never ran",
    "replay-gap": "messages that `since` asked for are gone from the log",
    "truncated": "something in this message was cut to a limit",
    "not-plain": "`data` was asked for, but the value is not plain data",
    "exit": "the code raised SystemExit; `exit-code` is its code; the session lives on",
    "session-died": "the worker died; `cause` says how",
    "session-restarted": "the worker was replaced while this was open",
    "session-closed": "the session was closed",
    "still-running": "the interrupt gave up waiting; the eval goes on",
    "interrupt-id-mismatch": "the eval named is not open",
    "session-idle": "no eval was running",
    "oom": "the worker was killed for using too much memory",
    "cpu-limit": "the worker was killed for using more processor time than its session may",
}

CAPABILITIES: dict[str, str] = {
    "observe": "see what is in the principal's sessions; runs and changes nothing",
    "eval": "everything in the principal's own sessions",
    "admin": "list and close the sessions of every principal",
}
"""What a token may allow. `describe` and the like need no more than a token."""


TIERS = ("none", "process", "landlock", "sandbox", "strict")
Tier = Literal["none", "process", "landlock", "sandbox", "strict"]


class Record(Struct, kw_only=True, rename="kebab", omit_defaults=True):
    """A map of the protocol: kebab-case keys, absent where a field is unset."""


# -- shapes inside replies ----------------------------------------------------------------------


class Frame(Record, omit_defaults=False):
    """One entry of a traceback."""

    file: str
    line: int | None = None
    end_line: int | None = None
    column: int | None = None
    end_column: int | None = None
    function: str | None = None
    source: str | None = None


class ErrorInfo(Record, omit_defaults=False):
    """An error of user code. `cause`, `context` and `exceptions` (of a group) nest."""

    type: str
    module: str | None
    message: str
    traceback: list[Frame] = []
    cause: ErrorInfo | None = None
    context: ErrorInfo | None = None
    notes: list[str] = []
    exceptions: list[ErrorInfo] = []


class Cause(Record):
    """Why a worker is gone."""

    kind: Literal["exit", "signal", "oom", "limit", "killed", "lost", "idle"]
    code: int | None = None
    signal: str | None = None
    by: str | None = None
    last_stderr: str | None = None
    trace: str | None = None


class SessionInfo(Record, omit_defaults=False):
    """One entry of `ls-sessions`; times are seconds since 1970, `memory` is resident bytes."""

    id: str
    name: str | None
    state: Literal["starting", "ready", "busy", "dead"]
    epoch: int
    python: str
    cwd: str
    created: float
    last_active: float
    running: str | None
    queued: int
    clients: int
    memory: int | None
    principal: str


class ClientInfo(Record, omit_defaults=False):
    """One connection attached to a session: its number on this server, and its `client-name`."""

    number: int
    name: str | None


class Completion(Record):
    """`candidate` replaces the text from `start` to the cursor."""

    candidate: str
    type: str
    start: int
    signature: str | None = None
    doc: str | None = None


class Parameter(Record):
    label: str
    doc: str | None = None


class Signature(Record):
    label: str
    parameters: list[Parameter]
    active: int | None


class SymbolInfo(Record):
    """What `lookup` knows of a name."""

    name: str
    type: str
    signature: str | None = None
    doc: str | None = None
    file: str | None = None
    line: int | None = None
    column: int | None = None
    value: str | None = None


# -- replies ------------------------------------------------------------------------------------


class Sandbox(Struct, frozen=True, kw_only=True, rename="kebab", omit_defaults=True):
    """How a session is to be confined, where that is not as the server's policy has it by default."""

    tier: Annotated[Tier, Meta(description="how far; never less than the policy of the server")] | None = None
    network: Annotated[Literal["none", "host"], Meta(description="`none`: a localhost of its own")] | None = None
    workspace: (
        Annotated[Literal["cwd", "fresh"], Meta(description="`fresh`: an empty directory that ends with the session")]
        | None
    ) = None
    read: Annotated[list[str], Meta(max_length=64, description="further paths it may read")] = []
    write: Annotated[list[str], Meta(max_length=64, description="further directories it may write to")] = []


class SessionLimits(Struct, frozen=True, kw_only=True, rename="kebab", omit_defaults=True):
    """What one session may use: no more than the server's own bounds, which hold for what is absent."""

    memory_bytes: Annotated[int, Meta(ge=1 << 24, description="of all its processes, or of each")] | None = None
    processes: Annotated[int, Meta(ge=1, description="and threads, at once")] | None = None
    cpu_seconds: Annotated[int, Meta(ge=1, description="of each process")] | None = None
    eval_seconds: Annotated[float, Meta(gt=0, description="from the start of an eval to its `timeout`")] | None = None
    output_bytes: Annotated[int, Meta(ge=1, description="of one eval, to `out` and `err` together")] | None = None
    open_files: Annotated[int, Meta(ge=64, description="of each process, sockets included")] | None = None
    file_bytes: Annotated[int, Meta(ge=4096, description="of one file")] | None = None
    tmp_bytes: Annotated[int, Meta(ge=1 << 16, description="of each private directory")] | None = None


class Reply(Record, kw_only=True):
    """What every reply may carry."""

    id: str
    session: str | UnsetType = UNSET
    status: list[str] | UnsetType = UNSET
    message: str | UnsetType = UNSET


class HelloReply(Reply):
    principal: str
    capabilities: list[str]
    quota: Annotated[dict[str, int], Meta(description="what it may have at once: `sessions`, `evals`, `memory-bytes`")]
    server: dict[str, str]
    protocol: dict[str, int]


class DescribeReply(Reply):
    ops: dict[str, Any]
    versions: dict[str, Any]
    sandbox: dict[str, Any]
    limits: dict[str, Any]
    transports: Annotated[list[str], Meta(description="of `tcp`, `tls`, `unix`")]
    insecure: Annotated[bool, Meta(description="others on the network can read along")] | UnsetType = UNSET


class CloneReply(Reply):
    new_session: str
    info: dict[str, Any]


class RestartReply(Reply):
    epoch: int
    info: dict[str, Any]


class SessionsReply(Reply):
    sessions: list[SessionInfo]


class AttachReply(Reply):
    first_seq: Annotated[int, Meta(description="of the oldest message kept; `last-seq` + 1 where there is none")]
    last_seq: Annotated[int, Meta(description="the last number before what is sent live")]
    epoch: int
    running: Annotated[str | None, Meta(description="the eval that runs")]
    queued: int
    open: Annotated[list[str], Meta(description="the evals that run or wait, in their order")]
    waiting_for_input: bool


class InterruptReply(Reply):
    stages: list[Literal["cancel", "sigint", "kill"]]


class CompletionsReply(Reply):
    completions: list[Completion]


class SignatureReply(Reply):
    signatures: list[Signature]


class LookupReply(Reply):
    info: SymbolInfo


class IsCompleteReply(Reply):
    state: Literal["complete", "incomplete", "invalid"]
    indent: str | UnsetType = UNSET


class DisplayBundle(Record):
    """What `display()` sent: `data` of each MIME type."""

    mime: dict[str, Any]
    metadata: dict[str, Any] | UnsetType = UNSET
    display_id: str | UnsetType = UNSET
    update: bool | UnsetType = UNSET
    clear: bool | UnsetType = UNSET


class Started(Record):
    """What runs now, for those who did not ask for it."""

    code: str
    file: str | None
    line: int
    client: str | None


class EvalReply(Reply, kw_only=True):
    """One message of an eval's stream; a message may combine several of these fields."""

    seq: int | UnsetType = UNSET
    started: Started | UnsetType = UNSET
    out: str | UnsetType = UNSET
    err: str | UnsetType = UNSET
    late: bool | UnsetType = UNSET
    value: str | UnsetType = UNSET
    mime: dict[str, Any] | UnsetType = UNSET
    data: Any = UNSET
    line: int | UnsetType = UNSET
    end_line: int | UnsetType = UNSET
    display: DisplayBundle | UnsetType = UNSET
    prompt: str | UnsetType = UNSET
    password: bool | UnsetType = UNSET
    error: ErrorInfo | UnsetType = UNSET
    exit_code: int | UnsetType = UNSET
    cause: Cause | UnsetType = UNSET


class Event(Record, kw_only=True):
    """Something that happened to a session; part of its stream, answers no request."""

    session: str
    seq: int
    event: Literal["started", "died", "restarted", "closed", "clients", "culling"]
    epoch: int
    cause: Annotated[Cause, Meta(description="with `died` and `closed`")] | UnsetType = UNSET
    count: Annotated[int, Meta(description="with `clients`: how many connections are attached")] | UnsetType = UNSET
    clients: (
        Annotated[list[ClientInfo], Meta(description="with `clients`: who they are; the newest 32 of many")] | UnsetType
    ) = UNSET
    seconds: (
        Annotated[float, Meta(description="with `culling`: until the session ends, unless it is used")] | UnsetType
    ) = UNSET
    crash_loop: (
        Annotated[bool, Meta(description="with `died`: no further worker is started until `restart`")] | UnsetType
    ) = UNSET


# -- requests -----------------------------------------------------------------------------------


class Request(Record, kw_only=True, tag_field="op"):
    """What every request has."""

    statuses: ClassVar[tuple[str, ...]] = ("done",)
    errors: ClassVar[tuple[str, ...]] = ()
    reply: ClassVar[type[Reply]] = Reply
    capability: ClassVar[str | None] = None
    """Which one the op needs; None: any token is enough."""
    also: ClassVar[str | None] = None
    """Another one that is enough too."""

    id: Id


class Hello(Request, kw_only=True, tag="hello"):
    """Say who is asking, and how large the messages it takes may be. Needed first where the
    handshake carried no token."""

    errors = ("unauthorized", "unsupported-version")
    reply = HelloReply

    token: Annotated[str, Meta(max_length=4096)] | None = None
    client_name: Annotated[str, Meta(max_length=128)] | None = None
    client_version: Annotated[str, Meta(max_length=128)] | None = None
    protocol: Annotated[int, Meta(description="the protocol version the client speaks")] = PROTOCOL_VERSION
    max_frame: Annotated[int, Meta(ge=65536, description="bytes of the largest frame the client takes")] | None = None
    max_value: (
        Annotated[int, Meta(ge=0, description="bytes of `data` and `mime` it takes beyond that in one message")] | None
    ) = None


class Describe(Request, kw_only=True, tag="describe"):
    """Say what this server is and can do."""

    reply = DescribeReply


class Clone(Request, kw_only=True, tag="clone"):
    """Make a session in a worker of its own: a fresh one, or with `session` a copy of that one's live state. The asker
    is attached to it."""

    errors = (
        "start-failed", "no-capacity", "quota-exceeded", "forbidden", "not-supported", "unknown-session", "busy",
        "unavailable",
    )  # fmt: skip
    reply = CloneReply
    capability = "eval"

    session: Annotated[SessionRef, Meta(description="the one to copy, as it is between two evals")] | None = None
    force: Annotated[bool, Meta(description="copy it though it has threads, which do not come along")] = False
    name: Annotated[str, Meta(min_length=1, max_length=128, description="unique per principal")] | None = None
    python: Annotated[str, Meta(max_length=4096, description="interpreter: a path, or a name on PATH")] | None = None
    cwd: Annotated[str, Meta(max_length=4096)] | None = None
    env: Annotated[dict[str, str], Meta(description="set on top of the base environment")] = {}
    inherit_env: Annotated[list[str], Meta(description="names of the server's own variables to pass on")] = []
    preload: Annotated[list[str], Meta(max_length=64, description="modules imported before the session starts")] = []
    sandbox: Sandbox | None = None
    limits: SessionLimits | None = None
    idle: (
        Annotated[Seconds, Meta(description="until it ends when nobody uses it; 0: never; absent: the server's")] | None
    ) = None


class Close(Request, kw_only=True, tag="close"):
    """End a session; open evals end with it. With `admin` it may be another principal's, by its id."""

    statuses = ("done", "session-closed")
    errors = ("unknown-session",)
    capability = "eval"
    also = "admin"

    session: SessionRef


class Restart(Request, kw_only=True, tag="restart"):
    """Give a session a fresh worker, or a copy of that of `from`; open evals end with the old one. Answers when the new
    one is up."""

    statuses = ("done", "session-closed")
    errors = (
        "unknown-session", "start-failed", "no-capacity", "quota-exceeded", "busy", "unavailable", "not-supported",
    )  # fmt: skip
    reply = RestartReply
    capability = "eval"

    session: SessionRef
    from_: Annotated[SessionRef, Meta(description="the session to copy, often a clone kept for this")] | None = field(
        default=None, name="from"
    )


class LsSessions(Request, kw_only=True, tag="ls-sessions"):
    """List the principal's sessions, or everybody's."""

    reply = SessionsReply

    all: Annotated[bool, Meta(description="every principal's; needs `admin`")] = False


class Attach(Request, kw_only=True, tag="attach"):
    """See everything a session says: what was said after `since`, where given, then this reply, then what follows."""

    statuses = ("done", "replay-gap")
    errors = ("unknown-session", "bad-since")
    reply = AttachReply
    capability = "observe"
    also = "eval"

    session: SessionRef
    since: Annotated[int, Meta(description="the `seq` of the last message seen; 0: from the start")] | None = None


class Detach(Request, kw_only=True, tag="detach"):
    """See no more than one asks for."""

    errors = ("unknown-session",)
    capability = "observe"
    also = "eval"

    session: SessionRef


class EvalOptions(Request, kw_only=True):
    """What `eval` and `load-file` share."""

    statuses = (
        "need-input", "input-done", "done", "eval-error", "interrupted", "timeout", "output-limit", "cancelled",
        "truncated", "not-plain", "exit", "session-died", "session-restarted", "session-closed", "oom",
        "cpu-limit",
    )  # fmt: skip
    errors = (
        "unknown-session", "duplicate-id", "busy", "quota-exceeded", "start-failed", "no-capacity", "not-supported",
    )  # fmt: skip
    reply = EvalReply
    capability = "eval"

    code: str
    file: Annotated[str, Meta(max_length=4096, description="where the code comes from; echoed as it is")] | None = None
    module: Annotated[str, Meta(max_length=512, description='an imported module, or "auto"')] | None = None
    mime: Annotated[list[MimeType], Meta(max_length=64, description="types wanted beside the text")] = []
    data: Annotated[bool, Meta(description="send the value as plain data too")] = False
    timeout: Annotated[Seconds, Meta(description="from its start until it is interrupted")] | None = None
    kill_after: Annotated[Seconds, Meta(description="from then until its worker is killed")] | None = None
    allow_stdin: bool = True
    store_history: bool = True
    print_quota: Annotated[int, Meta(ge=0, description="bytes of one value's text")] = 1 << 20


class Eval(EvalOptions, kw_only=True, tag="eval"):
    """Run code and relay what it says."""

    session: SessionRef | None = None
    line: Line = 1
    column: Annotated[int, Meta(ge=0, le=10_000_000, description="shifts the first line only")] = 0
    values: Literal["last", "all", "none"] = "last"


class LoadFile(EvalOptions, kw_only=True, tag="load-file"):
    """Run a file's contents, from line 1, as a file."""

    session: SessionRef
    values: Literal["last", "all", "none"] = "none"


class Interrupt(Request, kw_only=True, tag="interrupt"):
    """Stop an eval: the one named, else the running one. Answers when it has ended."""

    statuses = (
        "done", "interrupt-id-mismatch", "session-idle", "still-running", "session-died", "session-restarted",
        "session-closed",
    )  # fmt: skip
    errors = ("unknown-session", "not-supported", "invalid-message")
    reply = InterruptReply
    capability = "eval"

    session: SessionRef | None = None
    interrupt_id: Id | None = None
    all: Annotated[bool, Meta(description="cancel the queue too")] = False
    kill_after: Annotated[Seconds, Meta(description="until its worker is killed, if it still runs")] | None = None


class Stdin(Request, kw_only=True, tag="stdin"):
    """Append to the input of the running eval; the empty string is one end of file."""

    statuses = ("done", "session-idle")
    errors = ("unknown-session", "busy", "invalid-message")
    capability = "eval"

    session: SessionRef | None = None
    eval: Annotated[Id, Meta(description="the id of an eval without session")] | None = None
    stdin: str


class Completions(Request, kw_only=True, tag="completions"):
    """Complete the name before the cursor, from the live session."""

    errors = ("unknown-session", "unavailable", "busy")
    reply = CompletionsReply
    capability = "observe"
    also = "eval"

    session: SessionRef
    code: str
    cursor: Cursor
    module: str | None = None
    file: str | None = None


class SignatureOp(Request, kw_only=True, tag="signature"):
    """The signatures of the call around the cursor."""

    errors = ("unknown-session", "unavailable", "busy")
    reply = SignatureReply
    capability = "observe"
    also = "eval"

    session: SessionRef
    code: str
    cursor: Cursor
    module: str | None = None


class Lookup(Request, kw_only=True, tag="lookup"):
    """What a name is: `sym`, or the name at `cursor` in `code`."""

    errors = ("unknown-session", "unavailable", "busy", "not-found", "invalid-message")
    reply = LookupReply
    capability = "observe"
    also = "eval"

    session: SessionRef
    sym: Annotated[str, Meta(min_length=1, max_length=4096)] | None = None
    code: str | None = None
    cursor: Cursor | None = None
    module: str | None = None


class IsComplete(Request, kw_only=True, tag="is-complete"):
    """Whether a REPL should run this code, or let the user go on typing."""

    errors = ("unknown-session", "unavailable", "busy", "not-supported")
    reply = IsCompleteReply

    code: str
    session: SessionRef | None = None


AnyEval: TypeAlias = Eval | LoadFile
Introspection: TypeAlias = Completions | SignatureOp | Lookup | IsComplete

COMMON_ERRORS = ("invalid-message", "unauthorized", "forbidden", "internal")


def _leaves(base: type[Request]) -> list[type[Request]]:
    return [leaf for cls in base.__subclasses__() for leaf in (_leaves(cls) or [cls])]


OPS: dict[str, type[Request]] = {str(cls.__struct_config__.tag): cls for cls in _leaves(Request)}
"""Each op's record by name, in the order of declaration."""

OP_OF: dict[type[Request], str] = {cls: op for op, cls in OPS.items()}
"""The same the other way round."""
