//! What can go wrong with segments.

/// Why a segment could not be written, read or deleted.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// There is no such object. If the index still has a run in it, data is lost.
    #[error(
        "segment {object} is missing; if nothing else explains it, restore the object from a copy"
    )]
    Missing {
        /// Where it should be in the store.
        object: String,
    },
    /// The store failed, perhaps for the moment.
    #[error("cannot {action} segment {object}: {source}; {}", remedy(*transient))]
    Store {
        /// What was tried, as a verb.
        action: &'static str,
        /// Where the object is, or would be, in the store.
        object: String,
        /// True if another try may well succeed.
        transient: bool,
        /// What the store said.
        source: object_store::Error,
    },
    /// What the store gave back is not what was written. It is not served.
    #[error(
        "segment {object} is damaged at byte {byte}: {detail}; the damaged block is not served; \
         restore the object from a copy"
    )]
    Damaged {
        /// Where it is in the store.
        object: String,
        /// Where the damaged part begins.
        byte: u64,
        /// What is wrong with it.
        detail: String,
    },
    /// A batch is too large for a block.
    #[error("a batch of {bytes} bytes does not fit segment {object}; 4 GiB is the most")]
    TooLarge {
        /// Where the segment would be in the store.
        object: String,
        /// Bytes of the batch.
        bytes: u64,
    },
    /// The segment was written by a later version of the program.
    #[error("segment {object} has version {found}, and this program knows {supported} at most")]
    Version {
        /// Where it is in the store.
        object: String,
        /// The version it has.
        found: u32,
        /// The latest one known.
        supported: u32,
    },
}

fn remedy(transient: bool) -> &'static str {
    if transient {
        "it is tried again; see that the store can be reached and has room"
    } else {
        "check the store's address, its credentials and what they may do"
    }
}

impl SegmentError {
    /// True if the object is not there.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing { .. })
    }

    /// True if another try may well succeed.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Store {
                transient: true,
                ..
            }
        )
    }

    pub(crate) fn store(action: &'static str, object: String, source: object_store::Error) -> Self {
        use object_store::Error as E;
        let transient = match &source {
            E::NotFound { .. } => return Self::Missing { object },
            E::PermissionDenied { .. }
            | E::Unauthenticated { .. }
            | E::InvalidPath { .. }
            | E::NotSupported { .. }
            | E::NotImplemented { .. }
            | E::UnknownConfigurationKey { .. } => false,
            _ => true,
        };
        Self::Store {
            action,
            object,
            transient,
            source,
        }
    }
}
