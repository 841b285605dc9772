//! What every command works with: the way to the supervisor, the output, and how to print on it.

use super::arguments::GlobalOptions;
use super::failure::Failure;
use super::look::Look;
use super::place;
use crate::api::{Client, ErrorBody, RefusalCode};
use serde::Serialize;
use std::io::{self, Write};
use std::path::Path;

pub(crate) struct Session {
    pub(crate) look: Look,
    pub(crate) json: bool,
    pub(crate) out: Box<dyn Write>,
    pub(crate) err: Box<dyn Write>,
    /// The apps that may be seen in what is about all of them; every one where none is named.
    pub(crate) only: Vec<String>,
    global: GlobalOptions,
    client: Option<Client>,
}

impl Session {
    pub(crate) fn new(global: &GlobalOptions, look: Look, out: Box<dyn Write>, err: Box<dyn Write>) -> Session {
        Session { look, json: global.json, out, err, only: Vec::new(), global: global.clone(), client: None }
    }

    /// How to print, where it is told later than the rest.
    pub(crate) fn is_told(&mut self, json: bool, no_color: bool) {
        self.json |= json;
        self.global.no_color |= no_color;
        self.measure();
    }

    /// The connection to the supervisor: to the first that answers, kept for the whole command.
    pub(crate) fn client(&mut self) -> Result<&mut Client, Failure> {
        let client = match self.client.take() {
            Some(client) => client,
            None => place::connect(&self.global)?,
        };
        Ok(self.client.insert(client))
    }

    /// The connection together with the output, for answers that are printed while they come.
    pub(crate) fn client_and_output(&mut self) -> Result<(&mut Client, &mut dyn Write), Failure> {
        let client = match self.client.take() {
            Some(client) => client,
            None => place::connect(&self.global)?,
        };
        Ok((self.client.insert(client), &mut self.out))
    }

    /// The supervisor.toml that was named, if one was.
    pub(crate) fn config(&self) -> Option<&Path> {
        self.global.config.as_deref()
    }

    /// The terminal's size anew: a window can be resized.
    pub(crate) fn measure(&mut self) {
        self.look = Look::of_stdout(self.global.no_color);
    }

    /// One JSON value: over several lines for people, in one for programs.
    pub(crate) fn print_json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let text = if self.look.terminal { serde_json::to_vec_pretty(value) } else { serde_json::to_vec(value) };
        let mut text = text.map_err(io::Error::from)?;
        text.push(b'\n');
        self.out.write_all(&text)?;
        Ok(())
    }

    /// The failure in the way that was asked for, and the exit code.
    pub(crate) fn print_failure(&mut self, failure: Failure) -> u8 {
        match failure {
            Failure::Answered(body) => {
                // There is no third place to complain at.
                let _printed = if self.json { self.print_error_json(&body) } else { self.print_error(&body) };
                body.error.code.exit_code()
            }
            Failure::Output(error) => output_failed(&error, &mut self.err),
        }
    }

    /// Flushes what was printed, and says with which code to end.
    pub(crate) fn finish(&mut self, code: u8) -> u8 {
        match self.out.flush() {
            Ok(()) => code,
            Err(error) if code == 0 => output_failed(&error, &mut self.err),
            Err(_) => code,
        }
    }

    fn print_error_json(&mut self, body: &ErrorBody) -> Result<(), Failure> {
        self.print_json(body)
    }

    fn print_error(&mut self, body: &ErrorBody) -> Result<(), Failure> {
        self.out.flush()?;
        writeln!(self.err, "error: {}", body.error.message)?;
        if let Some(hint) = &body.error.hint {
            writeln!(self.err, "  next: {hint}")?;
        }
        Ok(())
    }
}

/// A reader that went away has seen enough: `infissi-ctl logs | head`.
fn output_failed(error: &io::Error, err: &mut dyn Write) -> u8 {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return 0;
    }
    let _nowhere_else = writeln!(err, "error: cannot write to standard output: {error}");
    RefusalCode::Failed.exit_code()
}
