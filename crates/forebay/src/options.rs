//! What can be set, and where: each option is declared once, in [`Options`], and read from the
//! command line, the environment and a file, in this order of precedence.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use serde::Deserialize;

use crate::address::ListenAddress;
use crate::failure::Failure;
use crate::keys::Keys;
use crate::segments::{Place, S3};
use crate::settings::Settings;
use crate::span::Span;

const ABOUT: &str = "A message broker: SQS, RabbitMQ and Kafka clients on one durable log";

const LISTENERS: &str = "Listeners";
const STORAGE: &str = "Storage";
const SQS: &str = "Amazon SQS";
const KAFKA: &str = "Kafka";
const RABBITMQ: &str = "RabbitMQ";

const AFTER_HELP: &str = "\
Every option is also an environment variable (FOREBAY_DATA_DIR, FOREBAY_SQS, ...) and a line of the
TOML file given with --config:

    data-dir = \"/var/lib/forebay\"
    kafka = \"127.0.0.1:19092\"
    amqp = \"off\"
    journal-retain = \"4GiB\"

A flag beats the environment, the environment beats the file, the file beats the default.

SEGMENTS
    What is older than --journal-retain moves from the journal into segments. With
    --segments s3://BUCKET/PREFIX they lie in Amazon S3, or on a server that speaks like it, and the
    disk holds the journal only. How to get there is told by the usual variables, or by a table of
    the file:

    AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY      [s3]
    AWS_REGION                                    region = \"eu-central-1\"
    AWS_ENDPOINT_URL_S3                           endpoint = \"https://s3.example.org\"
    AWS_ALLOW_HTTP=true                           allow-http = true

EXAMPLES
    forebay                                   all listeners on loopback, data in ./forebay-data
    forebay --amqp off --kafka off            only SQS, on port 9324
    forebay --sqs 127.0.0.1:0                 any free port; the banner on stdout names it
    forebay --sqs 0.0.0.0:9324 --insecure-bind
                                              reachable from the network: see the option

TRY IT, with the AWS command line, in another terminal
    export AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x AWS_DEFAULT_REGION=us-east-1
    aws --endpoint-url http://127.0.0.1:9324 sqs create-queue --queue-name orders

SIGTERM or Ctrl-C stops in order: what was accepted is made durable first. A second one stops at
once, which loses nothing that was acknowledged.";

#[derive(Parser)]
#[command(name = "forebay", version, about = ABOUT, after_help = AFTER_HELP)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: Options,
}

impl CommandLine {
    /// The parser. Options may stand before or after the command; help leaves the names of the
    /// variables to one sentence at its end.
    fn parser() -> clap::Command {
        Self::command().mut_args(|argument| argument.global(true).hide_env(true))
    }

    fn parse<Word: Into<OsString> + Clone>(
        line: impl IntoIterator<Item = Word>,
    ) -> Result<Self, clap::Error> {
        Self::from_arg_matches(&Self::parser().try_get_matches_from(line)?)
    }
}

#[derive(Subcommand)]
enum Command {
    /// Run the broker. This is also what happens without a command
    Serve,
    /// Read everything a stopped broker has stored, name all damage and what is lost by it
    #[command(after_help = CHECK_HELP)]
    Check(Check),
    /// Show what a stopped broker has stored: snapshots, segments, and the journal frame by frame
    #[command(after_help = DUMP_HELP)]
    Dump(Dump),
}

const CHECK_HELP: &str = "\
Without --repair nothing is changed. With it, what a repair would give up is listed first, and only
--yes carries it out: damaged files are kept as they are in DIR/damaged-TIME, and a directory that
opens is left. Make a copy of the directory first if there is room for one.

Exit codes: 0 all is whole, or was repaired; 1 nothing can be said; 2 wrong command line; 3 damaged.

EXAMPLES
    forebay check /var/lib/forebay
    forebay check --repair /var/lib/forebay
    forebay check --repair --yes /var/lib/forebay";

const DUMP_HELP: &str = "\
A position is a place in the journal, as errors and check name it.

EXAMPLES
    forebay dump /var/lib/forebay | less
    forebay dump --topic orders --records /var/lib/forebay
    forebay dump --from 201408512 --json /var/lib/forebay | head -20";

/// How to look for damage.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Check {
    /// The data directory [default: that of --data-dir]
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Make a damaged directory one that opens, giving up what cannot be read; lists it only,
    /// unless --yes is said too
    #[arg(long)]
    pub(crate) repair: bool,

    /// Carry the repair out
    #[arg(long, requires = "repair")]
    pub(crate) yes: bool,
}

/// What to show.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Dump {
    /// The data directory [default: that of --data-dir]
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Only what is about this topic
    #[arg(long, value_name = "TOPIC")]
    pub(crate) topic: Option<String>,

    /// The journal from this position on, and no segments
    #[arg(long, value_name = "POSITION")]
    pub(crate) from: Option<u64>,

    /// Show the messages too, those in segments included
    #[arg(long)]
    pub(crate) records: bool,

    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

/// Each option, unset where nobody set it.
#[derive(Args, Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Options {
    /// Read further options from this TOML file
    #[arg(long, env = "FOREBAY_CONFIG", value_name = "FILE")]
    #[serde(skip)]
    config: Option<PathBuf>,

    /// Where everything is kept; made if it is not there [default: ./forebay-data]
    #[arg(long, env = "FOREBAY_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,

    /// Listen for Amazon SQS clients [default: 127.0.0.1:9324]
    #[arg(long, env = "FOREBAY_SQS", help_heading = LISTENERS, value_name = "ADDR:PORT|off")]
    pub(crate) sqs: Option<ListenAddress>,

    /// Listen for AMQP 0-9-1 (RabbitMQ) clients [default: 127.0.0.1:5672]
    #[arg(long, env = "FOREBAY_AMQP", help_heading = LISTENERS, value_name = "ADDR:PORT|off")]
    pub(crate) amqp: Option<ListenAddress>,

    /// Listen for Kafka clients [default: 127.0.0.1:9092]
    #[arg(long, env = "FOREBAY_KAFKA", help_heading = LISTENERS, value_name = "ADDR:PORT|off")]
    pub(crate) kafka: Option<ListenAddress>,

    /// Listen for /healthz, /metrics and RabbitMQ's management API [default: 127.0.0.1:15672]
    #[arg(long, env = "FOREBAY_HTTP", help_heading = LISTENERS, value_name = "ADDR:PORT|off")]
    pub(crate) http: Option<ListenAddress>,

    /// Allow addresses other than loopback. Forebay has neither TLS nor real credentials yet:
    /// whoever reaches such a port can read and delete everything
    #[arg(
        long,
        env = "FOREBAY_INSECURE_BIND",
        help_heading = LISTENERS,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = clap::builder::BoolishValueParser::new(),
        hide_possible_values = true
    )]
    pub(crate) insecure_bind: Option<bool>,

    /// At the start, declare and set what this file says: RabbitMQ's definitions, as
    /// `rabbitmqctl export_definitions` and the management API write them
    #[arg(long, env = "FOREBAY_DEFINITIONS", help_heading = RABBITMQ, value_name = "FILE")]
    pub(crate) definitions: Option<PathBuf>,

    /// What to trace on stderr: a level, or levels by part such as info,forebay_log=debug
    /// [default: info]
    #[arg(long, env = "FOREBAY_LOG", value_name = "FILTER")]
    pub(crate) log: Option<String>,

    /// Memory for the newest records, so that consumers who keep up never read the disk
    /// [default: 64MiB]
    #[arg(long, env = "FOREBAY_CACHE", help_heading = STORAGE, value_name = "SIZE")]
    pub(crate) cache: Option<ByteSize>,

    /// Size of one journal file, 4MiB to 1GiB; a message has to fit into one
    /// [default: 64MiB]
    #[arg(long, env = "FOREBAY_JOURNAL_FILE", help_heading = STORAGE, value_name = "SIZE")]
    pub(crate) journal_file: Option<ByteSize>,

    /// Keep so much of the newest journal even where all work in it is settled, so that it can be
    /// replayed [default: 1GiB]
    #[arg(long, env = "FOREBAY_JOURNAL_RETAIN", help_heading = STORAGE, value_name = "SIZE")]
    pub(crate) journal_retain: Option<ByteSize>,

    /// Publishing waits while the disk has less than this free; consuming goes on
    /// [default: 256MiB]
    #[arg(long, env = "FOREBAY_MIN_FREE", help_heading = STORAGE, value_name = "SIZE")]
    pub(crate) min_free: Option<ByteSize>,

    /// Where older data goes: a directory, or a bucket as s3://BUCKET/PREFIX (gs:// and az:// are
    /// known too); `forebay --help` ends with how to reach one [default: segments in the data
    /// directory]
    #[arg(long, env = "FOREBAY_SEGMENTS", help_heading = STORAGE, value_name = "DIR|URL")]
    pub(crate) segments: Option<Place>,

    /// How to reach the bucket. Secrets do not belong on a command line.
    #[arg(skip)]
    pub(crate) s3: Option<S3>,

    /// The region in the ARNs of queues [default: us-east-1]
    #[arg(long, env = "FOREBAY_SQS_REGION", help_heading = SQS, value_name = "REGION")]
    pub(crate) sqs_region: Option<String>,

    /// The account in the URLs and ARNs of queues, 12 digits [default: 000000000000]
    #[arg(long, env = "FOREBAY_SQS_ACCOUNT", help_heading = SQS, value_name = "ACCOUNT")]
    pub(crate) sqs_account: Option<String>,

    /// How many messages of a queue that is made from now on may be in flight at once; 0 for any
    /// number [default: 120000]
    #[arg(long, env = "FOREBAY_SQS_MAX_IN_FLIGHT", help_heading = SQS, value_name = "COUNT")]
    pub(crate) sqs_max_in_flight: Option<u64>,

    /// The longest delay of a queue or a message, such as 30days [default: 15min, as in AWS]
    #[arg(long, env = "FOREBAY_SQS_MAX_DELAY", help_heading = SQS, value_name = "TIME")]
    pub(crate) sqs_max_delay: Option<Span>,

    /// The longest retention of a queue [default: 14days, as in AWS]
    #[arg(long, env = "FOREBAY_SQS_MAX_RETENTION", help_heading = SQS, value_name = "TIME")]
    pub(crate) sqs_max_retention: Option<Span>,

    /// How long the name of a deleted queue cannot be given again; of queues that are made from
    /// now on [default: 60s, as in AWS]
    #[arg(long, env = "FOREBAY_SQS_DELETED", help_heading = SQS, value_name = "TIME")]
    pub(crate) sqs_deleted: Option<Span>,

    /// Access keys that requests must be signed with, as ID:SECRET, separated by commas. In the
    /// file, a table of secrets by id. Without any, every request is served. Secrets do not belong
    /// on a command line: set the variable
    #[arg(
        long,
        env = "FOREBAY_SQS_CREDENTIALS",
        hide_env_values = true,
        help_heading = SQS,
        value_name = "ID:SECRET"
    )]
    pub(crate) sqs_credentials: Option<Keys>,

    /// Partitions of a topic that a Kafka client makes by using it [default: 1]
    #[arg(long, env = "FOREBAY_KAFKA_PARTITIONS", help_heading = KAFKA, value_name = "COUNT")]
    pub(crate) kafka_partitions: Option<u32>,

    /// The address Kafka clients are told to come back to, if it is not the one they came to
    #[arg(long, env = "FOREBAY_KAFKA_ADVERTISE", help_heading = KAFKA, value_name = "HOST:PORT")]
    pub(crate) kafka_advertise: Option<String>,
}

impl Options {
    /// These options where they are set, those of `weaker` elsewhere.
    fn or(self, weaker: Options) -> Options {
        Options {
            config: self.config.or(weaker.config),
            data_dir: self.data_dir.or(weaker.data_dir),
            sqs: self.sqs.or(weaker.sqs),
            amqp: self.amqp.or(weaker.amqp),
            kafka: self.kafka.or(weaker.kafka),
            http: self.http.or(weaker.http),
            insecure_bind: self.insecure_bind.or(weaker.insecure_bind),
            definitions: self.definitions.or(weaker.definitions),
            log: self.log.or(weaker.log),
            cache: self.cache.or(weaker.cache),
            journal_file: self.journal_file.or(weaker.journal_file),
            journal_retain: self.journal_retain.or(weaker.journal_retain),
            min_free: self.min_free.or(weaker.min_free),
            segments: self.segments.or(weaker.segments),
            s3: self.s3.or(weaker.s3),
            sqs_region: self.sqs_region.or(weaker.sqs_region),
            sqs_account: self.sqs_account.or(weaker.sqs_account),
            sqs_max_in_flight: self.sqs_max_in_flight.or(weaker.sqs_max_in_flight),
            sqs_max_delay: self.sqs_max_delay.or(weaker.sqs_max_delay),
            sqs_max_retention: self.sqs_max_retention.or(weaker.sqs_max_retention),
            sqs_deleted: self.sqs_deleted.or(weaker.sqs_deleted),
            sqs_credentials: self.sqs_credentials.or(weaker.sqs_credentials),
            kafka_partitions: self.kafka_partitions.or(weaker.kafka_partitions),
            kafka_advertise: self.kafka_advertise.or(weaker.kafka_advertise),
        }
    }
}

/// Why there are no settings to run with.
pub(crate) enum Stop {
    /// The command line asked for help, or is wrong; clap has the words for it.
    CommandLine(clap::Error),
    /// The file or a value is wrong.
    Failure(Failure),
}

impl Stop {
    /// Says it, and gives the exit code: 0 for help, 2 for a wrong command line, 1 for the rest.
    pub(crate) fn exit(self) -> std::process::ExitCode {
        match self {
            Stop::CommandLine(error) => {
                // Help goes to stdout and errors to stderr; if neither can be written, nobody reads.
                let _ = error.print();
                std::process::ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
            }
            Stop::Failure(failure) => failure.exit(),
        }
    }
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Task {
    /// Run the broker.
    Serve(Settings),
    /// Look for damage.
    Check(Settings, Check),
    /// Show what there is.
    Dump(Settings, Dump),
}

/// Reads the command line, the environment and the file.
pub(crate) fn read() -> Result<Task, Stop> {
    let line = CommandLine::parse(std::env::args_os()).map_err(Stop::CommandLine)?;
    let options = match &line.options.config {
        Some(path) => {
            let file = read_file(path).map_err(Stop::Failure)?;
            line.options.or(file)
        }
        None => line.options,
    };
    let mut settings = Settings::new(options).map_err(Stop::Failure)?;
    let mut on = |dir: &Option<PathBuf>| {
        if let Some(dir) = dir {
            settings.data_dir.clone_from(dir);
        }
    };
    match &line.command {
        Some(Command::Check(Check { dir, .. }) | Command::Dump(Dump { dir, .. })) => on(dir),
        Some(Command::Serve) | None => {}
    }
    Ok(match line.command {
        Some(Command::Serve) | None => Task::Serve(settings),
        Some(Command::Check(check)) => Task::Check(settings, check),
        Some(Command::Dump(dump)) => Task::Dump(settings, dump),
    })
}

fn read_file(path: &Path) -> Result<Options, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::ConfigRead {
        path: path.to_owned(),
        error,
    })?;
    toml::from_str(&text).map_err(|error| Failure::ConfigSyntax {
        path: path.to_owned(),
        error: Box::new(error),
    })
}

#[cfg(test)]
#[path = "options/tests.rs"]
mod tests;
