//! How a command ends badly: an answer with an exit code, or an output that nobody reads any more.

use crate::api::{ClientError, ErrorBody, Refusal, RefusalCode};
use std::io;

#[derive(Debug)]
pub(crate) enum Failure {
    /// To be printed; its code is the exit code.
    Answered(Box<ErrorBody>),
    /// Standard output does not take what was to be printed.
    Output(io::Error),
}

impl Failure {
    pub(crate) fn new(code: RefusalCode, message: impl Into<String>, hint: impl Into<String>) -> Failure {
        Refusal::new(code, message).hint(hint).into()
    }

    pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Failure {
        Failure::new(RefusalCode::Usage, message, hint)
    }
}

impl From<ErrorBody> for Failure {
    fn from(body: ErrorBody) -> Failure {
        Failure::Answered(Box::new(body))
    }
}

impl From<Refusal> for Failure {
    fn from(error: Refusal) -> Failure {
        ErrorBody { error, results: Vec::new() }.into()
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        error.into_body().into()
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Output(error)
    }
}
