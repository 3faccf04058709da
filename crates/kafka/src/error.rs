//! From refusals to Kafka's error codes: one exhaustive match for each kind of refusal.

use forebay_broker::{GroupRefusal, ProducerRefusal, Refusal, TransactionRefusal};
use forebay_record::BatchError;
use kafka_protocol::ResponseError;
use kafka_protocol::protocol::StrBytes;

/// An error code, and what to say with it where the response has room for words.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Failure {
    /// The code.
    pub(crate) error: ResponseError,
    /// Why.
    pub(crate) message: Option<String>,
    /// The records of a batch that are the reason, by number.
    pub(crate) records: Vec<u32>,
}

impl Failure {
    /// With words.
    pub(crate) fn new(error: ResponseError, message: impl Into<String>) -> Self {
        Self {
            error,
            message: Some(message.into()),
            records: Vec::new(),
        }
    }

    /// The number.
    pub(crate) fn code(&self) -> i16 {
        self.error.code()
    }

    /// The words, as a response carries them.
    pub(crate) fn text(self) -> Option<StrBytes> {
        self.message.map(StrBytes::from_string)
    }

    /// How long a client should wait before it sends more, milliseconds.
    pub(crate) fn throttle_ms(&self) -> i32 {
        match self.error {
            ResponseError::KafkaStorageError => STORAGE_FULL_THROTTLE_MS,
            _ => 0,
        }
    }
}

/// For so long producers are asked to be quiet while the disk is full.
const STORAGE_FULL_THROTTLE_MS: i32 = 1000;

impl From<ResponseError> for Failure {
    fn from(error: ResponseError) -> Self {
        Self {
            error,
            message: None,
            records: Vec::new(),
        }
    }
}

impl From<&Refusal> for Failure {
    fn from(refusal: &Refusal) -> Self {
        Self::new(code(refusal), refusal.to_string())
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::from(&refusal)
    }
}

impl From<BatchError> for Failure {
    fn from(refusal: BatchError) -> Self {
        let error = match refusal {
            BatchError::Truncated | BatchError::Crc { .. } => ResponseError::CorruptMessage,
            BatchError::TooLarge { .. } => ResponseError::MessageTooLarge,
            BatchError::UnsupportedCompression(_) => ResponseError::UnsupportedCompressionType,
            BatchError::Magic(_) | BatchError::Malformed(_) | BatchError::Decompress { .. } => {
                ResponseError::InvalidRecord
            }
        };
        Self::new(error, refusal.to_string())
    }
}

/// The code of a refusal.
pub(crate) fn code(refusal: &Refusal) -> ResponseError {
    match refusal {
        Refusal::NoSuchTopic | Refusal::NoSuchPartition => ResponseError::UnknownTopicOrPartition,
        Refusal::TopicExists(_) => ResponseError::TopicAlreadyExists,
        Refusal::TopicLocked => ResponseError::TopicAuthorizationFailed,
        Refusal::TooLarge { .. } => ResponseError::MessageTooLarge,
        Refusal::BeyondEnd { .. } => ResponseError::OffsetOutOfRange,
        Refusal::PartitionCount { .. } => ResponseError::InvalidPartitions,
        Refusal::StorageFull(_) | Refusal::TopicFull => ResponseError::KafkaStorageError,
        Refusal::Producer(refusal) => producer_code(refusal),
        Refusal::Transaction(refusal) => fencing_code(*refusal, false),
        Refusal::Group(refusal) => group_code(refusal),
        Refusal::Stopping => ResponseError::NotLeaderOrFollower,
        Refusal::InUse
        | Refusal::NotEmpty
        | Refusal::NoSuchExchange(_)
        | Refusal::ExchangeExists(_)
        | Refusal::ExchangeInternal(_)
        | Refusal::ExchangeReserved(_)
        | Refusal::NoSuchBinding
        | Refusal::MoveRunning
        | Refusal::NoSuchMove
        | Refusal::ConsumerExclusive => ResponseError::InvalidRequest,
    }
}

/// The code of a refusal where a group's coordinator is asked.
pub(crate) fn coordinator_code(refusal: &Refusal) -> ResponseError {
    match code(refusal) {
        ResponseError::NotLeaderOrFollower | ResponseError::KafkaStorageError => {
            ResponseError::CoordinatorNotAvailable
        }
        other => other,
    }
}

/// The code of a refusal where the coordinator of transactions is asked. Clients of older versions
/// do not know PRODUCER_FENCED (KIP-588).
pub(crate) fn transaction_code(refusal: &Refusal, knows_fenced: bool) -> ResponseError {
    match refusal {
        Refusal::Transaction(refusal) => fencing_code(*refusal, knows_fenced),
        other => coordinator_code(other),
    }
}

fn fencing_code(refusal: TransactionRefusal, knows_fenced: bool) -> ResponseError {
    match refusal {
        TransactionRefusal::UnknownProducer => ResponseError::InvalidProducerIdMapping,
        TransactionRefusal::Fenced { .. } if knows_fenced => ResponseError::ProducerFenced,
        TransactionRefusal::Fenced { .. } => ResponseError::InvalidProducerEpoch,
        TransactionRefusal::InvalidState => ResponseError::InvalidTxnState,
        TransactionRefusal::InvalidTimeout { .. } => ResponseError::InvalidTransactionTimeout,
        TransactionRefusal::TooManyOffsets => ResponseError::InvalidCommitOffsetSize,
    }
}

fn producer_code(refusal: &ProducerRefusal) -> ResponseError {
    match refusal {
        ProducerRefusal::OutOfOrderSequence { .. } => ResponseError::OutOfOrderSequenceNumber,
        ProducerRefusal::StaleEpoch { .. } => ResponseError::InvalidProducerEpoch,
        ProducerRefusal::Malformed => ResponseError::InvalidRecord,
    }
}

/// The code of a group's refusal.
pub(crate) fn group_code(refusal: &GroupRefusal) -> ResponseError {
    match refusal {
        GroupRefusal::InvalidGroup => ResponseError::InvalidGroupId,
        GroupRefusal::InvalidSessionTimeout => ResponseError::InvalidSessionTimeout,
        GroupRefusal::UnknownMember => ResponseError::UnknownMemberId,
        GroupRefusal::IllegalGeneration => ResponseError::IllegalGeneration,
        GroupRefusal::RebalanceInProgress => ResponseError::RebalanceInProgress,
        GroupRefusal::InconsistentProtocol => ResponseError::InconsistentGroupProtocol,
        GroupRefusal::MemberIdRequired => ResponseError::MemberIdRequired,
        GroupRefusal::FencedInstance => ResponseError::FencedInstanceId,
        GroupRefusal::GroupFull => ResponseError::GroupMaxSizeReached,
        GroupRefusal::NotEmpty => ResponseError::NonEmptyGroup,
        GroupRefusal::NotFound => ResponseError::GroupIdNotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_an_error_to_try_again_after_a_while() {
        let failure = Failure::from(Refusal::StorageFull("no space".into()));
        assert_eq!(failure.code(), 56);
        assert!(failure.error.is_retriable());
        assert!(failure.throttle_ms() > 0);
        assert!(failure.text().is_some_and(|text| text.contains("no space")));
    }

    #[test]
    fn a_broker_that_stops_sends_clients_to_look_for_another() {
        assert_eq!(code(&Refusal::Stopping).code(), 6);
        assert_eq!(coordinator_code(&Refusal::Stopping).code(), 15);
        assert!(code(&Refusal::Stopping).is_retriable());
        assert!(coordinator_code(&Refusal::Stopping).is_retriable());
    }

    #[test]
    fn the_rules_of_transactions_have_their_codes() {
        for (refusal, number, old) in [
            (TransactionRefusal::UnknownProducer, 49, 49),
            (TransactionRefusal::Fenced { found: 1 }, 90, 47),
            (TransactionRefusal::InvalidState, 48, 48),
            (TransactionRefusal::InvalidTimeout { ms: 0 }, 50, 50),
            (TransactionRefusal::TooManyOffsets, 28, 28),
        ] {
            let refusal = Refusal::Transaction(refusal);
            assert_eq!(transaction_code(&refusal, true).code(), number);
            assert_eq!(transaction_code(&refusal, false).code(), old);
            assert_eq!(code(&refusal).code(), old, "to a producer's batch");
        }
    }

    #[test]
    fn the_rules_of_producers_have_their_codes() {
        for (refusal, number) in [
            (
                ProducerRefusal::OutOfOrderSequence {
                    expected: 1,
                    found: 3,
                },
                45,
            ),
            (
                ProducerRefusal::StaleEpoch {
                    current: 2,
                    found: 1,
                },
                47,
            ),
            (ProducerRefusal::Malformed, 87),
        ] {
            assert_eq!(Failure::from(Refusal::Producer(refusal)).code(), number);
        }
    }
}
