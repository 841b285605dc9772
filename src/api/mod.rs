//! What travels over the control socket: requests, statuses, refusals, events.

mod client;
mod deploy;
mod event;
mod reply;
mod request;
pub mod routes;
mod status;
mod words;

pub(crate) use client::with_causes;
pub use client::{Client, ClientError, RefusedError};
pub use deploy::{DeployEnd, DeployPlan, Deploying, LastDeploy, MemoryPlan, Releases, Setback, SharedLink};
pub use event::{EventKind, EventRecord};
pub use reply::{
    ActionReply, ActionResult, ApplyReply, BackupPlan, ErrorBody, ExecPlan, LogRecord, Plan, PlanAction, PlanStep,
    ProbeReply, Refusal, RefusalCode, UpgradeReply,
};
pub use request::{ActionQuery, ActivateBody, ApplyBody, EventsQuery, ExecQuery, LogsQuery, SignalBody, Way};
pub use status::{
    AppDetail, AppStatus, ConfigStatus, HostStatus, InstanceStatus, LastExit, LogFiles, OtherPhase, OtherSlot,
    OutputLine, Overview, ProcessRow, ProgramStatus, SupervisorStatus, Traffic, UpgradeStatus, WorkerStatus,
};
pub use words::{ExitReason, Health, Slot, Status, Stream};
