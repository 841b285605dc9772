//! What travels over the control socket: requests, statuses, refusals, events.

mod event;
mod reply;
mod request;
mod status;
mod words;

pub use event::{EventKind, EventRecord};
pub use reply::{
    ActionReply, ActionResult, ApplyReply, ErrorBody, LogRecord, Plan, PlanAction, PlanStep, ProbeReply, Refusal,
    RefusalCode,
};
pub use request::{ActionQuery, ApplyBody, EventsQuery, LogsQuery, SignalBody};
pub use status::{
    AppDetail, AppStatus, ConfigStatus, HostStatus, InstanceStatus, LastExit, LogFiles, OutputLine, ProcessRow,
    SupervisorStatus,
};
pub use words::{ExitReason, Health, Slot, Status, Stream};
