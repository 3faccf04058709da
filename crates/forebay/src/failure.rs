//! Why the program could not start or had to stop: one sentence each, that names the thing and the
//! way out.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// What ended the program.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("cannot read the configuration file {}: {error}", path.display())]
    ConfigRead { path: PathBuf, error: io::Error },
    #[error("the configuration file {} is wrong: {}", path.display(), error.to_string().trim_end())]
    ConfigSyntax {
        path: PathBuf,
        error: Box<toml::de::Error>,
    },
    #[error("--{flag} {given} is out of range: it can be {range}")]
    OutOfRange {
        flag: &'static str,
        given: String,
        range: String,
    },
    #[error("--{flag} {given:?} is not HOST:PORT")]
    NotHostAndPort { flag: &'static str, given: String },
    #[error(
        "--{flag} {at} is not a loopback address, and Forebay has neither TLS nor real credentials \
         yet: whoever reaches the port could read and delete everything. If that is what you want, \
         say --insecure-bind"
    )]
    NotLoopback { flag: &'static str, at: SocketAddr },
    #[error("--log {given:?} is no filter: {reason}")]
    LogFilter { given: String, reason: String },
    #[error(
        "cannot listen on {at}: {}. Choose another address with --{flag} ADDR:PORT, or --{flag} off",
        in_words(error)
    )]
    Listen {
        flag: &'static str,
        at: SocketAddr,
        error: io::Error,
    },
    #[error("the definitions in {} cannot be taken in: {reason}", path.display())]
    Definitions { path: PathBuf, reason: String },
    #[error("segments cannot be kept at {place}: {reason}")]
    Segments { place: String, reason: String },
    #[error("cannot start: {0}")]
    Runtime(io::Error),
    #[error("{0}")]
    Open(String),
    #[error("{} is not a Forebay data directory: name one, as in `forebay check DIR`", dir.display())]
    NothingThere { dir: PathBuf },
    #[error("{} is damaged. Nothing was changed", dir.display())]
    Damaged { dir: PathBuf },
    #[error("{} is still damaged after the repair", dir.display())]
    StillDamaged { dir: PathBuf },
    #[error("{0}")]
    Repair(String),
    #[error("the {name} listener failed: {reason}")]
    FrontEnd { name: &'static str, reason: String },
    #[error("the broker has stopped: {0}")]
    Shard(String),
    #[error("could not stop in order: {0}. What was acknowledged is safe")]
    Shutdown(String),
    #[error("stopped at once by a second signal ({0}). What was acknowledged is safe")]
    Hurried(&'static str),
}

impl Failure {
    /// Says it on stderr and gives the exit code.
    pub(crate) fn exit(self) -> ExitCode {
        use io::Write;
        // If stderr is closed there is nobody to tell.
        let _ = writeln!(io::stderr(), "forebay: {self}");
        match self {
            Self::Damaged { .. } | Self::StillDamaged { .. } => ExitCode::from(3),
            _ => ExitCode::FAILURE,
        }
    }
}

fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another program listens there already".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address".to_owned(),
        io::ErrorKind::PermissionDenied => "this user may not use that port".to_owned(),
        _ => error.to_string(),
    }
}
