//! The options as they stand when all have been read, defaults filled in and checked.

use std::net::SocketAddr;
use std::path::PathBuf;

use bytesize::ByteSize;

use crate::address::ListenAddress;
use crate::failure::Failure;
use crate::options::Options;
use crate::segments::{Place, S3};
use crate::span::Span;

/// What the program runs with.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) data_dir: PathBuf,
    pub(crate) sqs: ListenAddress,
    pub(crate) amqp: ListenAddress,
    pub(crate) kafka: ListenAddress,
    pub(crate) http: ListenAddress,
    pub(crate) definitions: Option<PathBuf>,
    pub(crate) log: String,
    pub(crate) cache: ByteSize,
    pub(crate) journal_file: ByteSize,
    pub(crate) journal_retain: ByteSize,
    pub(crate) min_free: ByteSize,
    pub(crate) segments: Place,
    pub(crate) s3: S3,
    pub(crate) sqs_options: forebay_sqs::Options,
    pub(crate) kafka_partitions: u32,
    pub(crate) kafka_advertise: Option<(String, u16)>,
}

const SMALLEST_JOURNAL_FILE: ByteSize = ByteSize::mib(4);
const LARGEST_JOURNAL_FILE: ByteSize = ByteSize::gib(1);
const MOST_PARTITIONS: u32 = 1_024;

impl Settings {
    /// Fills in the defaults and checks what cannot be checked value by value.
    pub(crate) fn new(options: Options) -> Result<Self, Failure> {
        let sqs_options = sqs_options(&options)?;
        let settings = Self {
            sqs_options,
            data_dir: options
                .data_dir
                .unwrap_or_else(|| PathBuf::from("./forebay-data")),
            sqs: options.sqs.unwrap_or(ListenAddress::loopback(9324)),
            amqp: options.amqp.unwrap_or(ListenAddress::loopback(5672)),
            kafka: options.kafka.unwrap_or(ListenAddress::loopback(9092)),
            http: options.http.unwrap_or(ListenAddress::loopback(15672)),
            definitions: options.definitions,
            log: options.log.unwrap_or_else(|| "info".to_owned()),
            cache: options.cache.unwrap_or(ByteSize::mib(64)),
            journal_file: whole_pages(options.journal_file.unwrap_or(ByteSize::mib(64))),
            journal_retain: options.journal_retain.unwrap_or(ByteSize::gib(1)),
            min_free: options.min_free.unwrap_or(ByteSize::mib(256)),
            segments: options.segments.unwrap_or_default(),
            s3: options.s3.unwrap_or_default(),
            kafka_partitions: options.kafka_partitions.unwrap_or(1),
            kafka_advertise: options.kafka_advertise.map(host_and_port).transpose()?,
        };
        let insecure = options.insecure_bind.unwrap_or(false);
        for (flag, address) in settings.listeners() {
            match address {
                ListenAddress::At(at) if !at.ip().is_loopback() && !insecure => {
                    return Err(Failure::NotLoopback { flag, at });
                }
                ListenAddress::At(_) | ListenAddress::Off => {}
            }
        }
        if !(SMALLEST_JOURNAL_FILE..=LARGEST_JOURNAL_FILE).contains(&settings.journal_file) {
            return Err(Failure::OutOfRange {
                flag: "journal-file",
                given: settings.journal_file.to_string(),
                range: format!("{SMALLEST_JOURNAL_FILE} to {LARGEST_JOURNAL_FILE}"),
            });
        }
        if !(1..=MOST_PARTITIONS).contains(&settings.kafka_partitions) {
            return Err(Failure::OutOfRange {
                flag: "kafka-partitions",
                given: settings.kafka_partitions.to_string(),
                range: format!("1 to {MOST_PARTITIONS}"),
            });
        }
        Ok(settings)
    }

    /// Each listener's address by the name of its option.
    fn listeners(&self) -> [(&'static str, ListenAddress); 4] {
        [
            ("sqs", self.sqs),
            ("amqp", self.amqp),
            ("kafka", self.kafka),
            ("http", self.http),
        ]
    }
}

/// What the options say about SQS.
fn sqs_options(options: &Options) -> Result<forebay_sqs::Options, Failure> {
    let usual = forebay_sqs::Options::default();
    let region = options.sqs_region.clone().unwrap_or(usual.region);
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if region.is_empty() || !region.bytes().all(is_plain) {
        return Err(Failure::OutOfRange {
            flag: "sqs-region",
            given: region,
            range: "letters, digits and hyphens".to_owned(),
        });
    }
    let account_id = options.sqs_account.clone().unwrap_or(usual.account_id);
    if account_id.len() != 12 || !account_id.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Failure::OutOfRange {
            flag: "sqs-account",
            given: account_id,
            range: "12 digits".to_owned(),
        });
    }
    let longest = |flag, span: Option<Span>, least: u32| match span.map(Span::seconds) {
        None => Ok(least),
        Some(seconds) => u32::try_from(seconds)
            .ok()
            .filter(|seconds| *seconds >= least)
            .ok_or_else(|| Failure::OutOfRange {
                flag,
                given: format!("{seconds}s"),
                range: format!("{least}s to 136 years"),
            }),
    };
    let credentials = options.sqs_credentials.clone().unwrap_or_default();
    let deleted = Span::of_seconds(usual.deleted_seconds);
    Ok(forebay_sqs::Options {
        region,
        account_id,
        max_in_flight: match options.sqs_max_in_flight {
            None => usual.max_in_flight,
            Some(0) => None,
            most => most,
        },
        max_delay_seconds: longest(
            "sqs-max-delay",
            options.sqs_max_delay,
            usual.max_delay_seconds,
        )?,
        max_retention_seconds: longest(
            "sqs-max-retention",
            options.sqs_max_retention,
            usual.max_retention_seconds,
        )?,
        deleted_seconds: options.sqs_deleted.unwrap_or(deleted).seconds(),
        credentials: credentials.into_pairs().collect(),
    })
}

/// Journal files are a whole number of 4 KiB pages.
fn whole_pages(size: ByteSize) -> ByteSize {
    ByteSize(
        size.as_u64()
            .checked_next_multiple_of(4096)
            .unwrap_or(u64::MAX),
    )
}

fn host_and_port(text: String) -> Result<(String, u16), Failure> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok((address.ip().to_string(), address.port()));
    }
    text.rsplit_once(':')
        .filter(|(host, _)| !host.is_empty() && !host.contains(':'))
        .and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)))
        .ok_or(Failure::NotHostAndPort {
            flag: "kafka-advertise",
            given: text,
        })
}

#[cfg(test)]
#[path = "settings/tests.rs"]
mod tests;
