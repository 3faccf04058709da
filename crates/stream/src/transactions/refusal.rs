/// Why a transactional producer is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransactionRefusal {
    /// No producer has that name, or it has another producer id.
    #[error("the producer id does not belong to that name")]
    UnknownProducer,
    /// Another life of the producer has taken over, or the broker has ended this one.
    #[error("the producer's epoch {found} is not the present one")]
    Fenced {
        /// The epoch of the request.
        found: i16,
    },
    /// The request does not fit where the transaction stands.
    #[error("the transaction is not in a state for this")]
    InvalidState,
    /// The time for transactions is 0 or longer than the broker allows.
    #[error("a transaction cannot be given {ms} ms")]
    InvalidTimeout {
        /// What was asked for, milliseconds.
        ms: u64,
    },
    /// The offsets of the transaction take more memory than one may.
    #[error("the transaction holds too many offsets")]
    TooManyOffsets,
}
