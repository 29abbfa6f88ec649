//! Exit codes and the one failure type of the command line.

use std::fmt;
use std::process::ExitCode;

/// What the exit code tells a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 1: the command ran and its answer is "no" (`doctor` found something, nothing to replay).
    No = 1,
    /// 2: `audit verify` could not open what it should look at.
    CannotOpen = 2,
    /// 64: the command line or the configuration is wrong; trying again without a change cannot help.
    Usage = 64,
    /// 69: the broker or the running system cannot be reached.
    Unavailable = 69,
    /// 70: a fault inside Spark.
    Internal = 70,
    /// 75: something outside is in the way (a port, a full disk); trying again later can help.
    Temporary = 75,
    /// 85: a process ended in good order because it was asked to restart; whoever supervises it starts it again.
    Restart = 85,
}

/// Ends a command: the code, and what to print on stderr.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What went wrong and what would be right. Empty: everything was printed already.
    pub message: String,
}

impl Failure {
    /// Exit 1.
    pub fn no(message: impl Into<String>) -> Self {
        Self { exit: Exit::No, message: message.into() }
    }

    /// Exit 64.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, message: message.into() }
    }

    /// Exit 69.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { exit: Exit::Unavailable, message: message.into() }
    }

    /// Exit 70.
    pub fn internal(message: impl Into<String>) -> Self {
        Self { exit: Exit::Internal, message: message.into() }
    }

    /// Exit 75.
    pub fn temporary(message: impl Into<String>) -> Self {
        Self { exit: Exit::Temporary, message: message.into() }
    }

    /// As the process's exit code.
    #[must_use]
    pub fn code(&self) -> ExitCode {
        ExitCode::from(self.exit as u8)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<spark_nats::Error> for Failure {
    fn from(error: spark_nats::Error) -> Self {
        use spark_nats::Error;
        let message = chain(&error);
        match error {
            // The address or the credentials cannot be used at all; a broker that is away is waited for.
            Error::Connect { .. } | Error::Credentials { .. } => Self::usage(message),
            Error::Broker { .. } | Error::Publish { .. } => Self::unavailable(message),
            Error::File { .. } | Error::Server(_) => Self::temporary(message),
            _ => Self::internal(message),
        }
    }
}

/// An error with all its causes, `what: why: why`.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
