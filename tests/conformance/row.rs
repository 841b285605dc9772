//! One row of a table: bytes that a client sends, and what may come of them.

use crate::machine::shown;

/// Stands behind every row's bytes: legitimate when the row was one whole request, never otherwise.
pub(crate) const NEXT: &str = "GET /next HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expect {
    /// One answer of 4xx or 5xx and an orderly end; the origin never has a whole request.
    Refused,
    /// The same, perhaps without an answer: the other side does not speak HTTP/1.
    Dropped,
    /// One request at the origin, and the next one.
    Passed,
    /// One request at the origin, and the connection ends with its answer.
    Alone,
    /// Refused or one request at the origin: whether the next one is heard depends on how much the proxy believes, but
    /// it is never a part of the first, nor the first a part of it.
    Either,
}

#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) sent: Vec<u8>,
    pub(crate) expect: Expect,
    /// As the origin should hear it, when it does.
    pub(crate) method: String,
    pub(crate) target: String,
    /// `*` is any.
    pub(crate) host: String,
    pub(crate) body: Vec<u8>,
}

impl Row {
    /// Exactly these bytes; it is `GET /row` for the origin.
    pub(crate) fn raw(sent: impl AsRef<[u8]>, expect: Expect) -> Row {
        let (method, target, host) = ("GET".to_owned(), "/row".to_owned(), "h".to_owned());
        Row { sent: sent.as_ref().to_vec(), expect, method, target, host, body: Vec::new() }
    }

    /// A GET with these header lines (each with its end) besides Host.
    pub(crate) fn headers(lines: &str, expect: Expect) -> Row {
        Row::raw(latin(&format!("GET /row HTTP/1.1\r\nHost: h\r\n{lines}\r\n")), expect)
    }

    /// A POST with these header lines (each with its end) and this behind the head; `body` is what it means.
    pub(crate) fn post(lines: &str, behind: impl AsRef<[u8]>, expect: Expect, body: &str) -> Row {
        let head = latin(&format!("POST /row HTTP/1.1\r\nHost: h\r\n{lines}\r\n"));
        Row::raw([&head, behind.as_ref()].concat(), expect).by("POST").with_body(body)
    }

    pub(crate) fn by(mut self, method: &str) -> Row {
        method.clone_into(&mut self.method);
        self
    }

    pub(crate) fn to(mut self, target: &str) -> Row {
        target.clone_into(&mut self.target);
        self
    }

    pub(crate) fn at(mut self, host: &str) -> Row {
        host.clone_into(&mut self.host);
        self
    }

    pub(crate) fn with_body(mut self, body: &str) -> Row {
        self.body = latin(body);
        self
    }

    pub(crate) fn name(&self) -> String {
        shown(&self.sent)
    }
}

/// Each character a byte, so that a table may hold any.
pub(crate) fn latin(text: &str) -> Vec<u8> {
    text.chars().map(|char| u8::try_from(char).unwrap()).collect()
}
