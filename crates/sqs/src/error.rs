//! Every way a request can fail, and its one place on the wire.
//!
//! An error travels as JSON `{"__type": "<namespace>#<shape>", "message": ...}` with the header
//! `x-amzn-query-error: <code>;<Sender|Receiver>`; SDKs that once spoke the query protocol show
//! the code, newer ones the shape.

use std::borrow::Cow;

use forebay_broker::Refusal;
use hyper::StatusCode;

use crate::limits::{
    BATCH_ENTRIES_MAX, DELETED_SECONDS, ECHO_BYTES_MAX, MESSAGE_BYTES_MAX, PURGE_SECONDS,
    REQUEST_BYTES_MAX,
};

/// Why a request, or an entry of a batch, was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    QueueDoesNotExist,
    QueueNameExists { attribute: String },
    InvalidAttributeName(String),
    InvalidAttributeValue(String),
    InvalidMessageContents,
    EmptyBatch { entry: &'static str },
    TooManyEntries { sent: usize },
    EntryIdRepeated { id: String },
    InvalidEntryId,
    BatchTooLong { sent: usize },
    ReceiptHandleIsInvalid { handle: String },
    UnsupportedOperation(Cow<'static, str>),
    InvalidAddress { url: String },
    OverLimit(String),
    ResourceNotFound(String),
    PurgeQueueInProgress { queue: String },
    InvalidParameterValue(String),
    MissingParameter(Cow<'static, str>),
    Serialization(String),
    UnknownOperation(String),
    UnsupportedMediaType(String),
    RequestTooLarge,
    RequestTimeout,
    AccessDenied(&'static str),
    MissingAuthenticationToken,
    InvalidClientTokenId,
    SignatureDoesNotMatch(Cow<'static, str>),
    IncompleteSignature(String),
    QueueDeletedRecently,
    Unavailable(String),
    Internal(String),
}

/// What a fault is called on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wire {
    /// The error shape, with its namespace.
    pub(crate) shape: &'static str,
    /// The code of the query protocol.
    pub(crate) code: &'static str,
    /// The HTTP status.
    pub(crate) status: StatusCode,
}

macro_rules! wire {
    ($shape:literal, $code:literal, $status:ident) => {
        Wire {
            shape: $shape,
            code: $code,
            status: StatusCode::$status,
        }
    };
}

impl Fault {
    /// `MissingParameter` for `parameter`.
    pub(crate) fn missing(parameter: &str) -> Self {
        Self::MissingParameter(
            format!("The request must contain the parameter {parameter}.").into(),
        )
    }

    /// `InvalidParameterValue` in AWS's usual words.
    pub(crate) fn invalid(value: impl std::fmt::Display, parameter: &str, reason: &str) -> Self {
        let value = value.to_string();
        let value = shown(&value);
        Self::InvalidParameterValue(format!(
            "Value {value} for parameter {parameter} is invalid. Reason: {reason}"
        ))
    }

    /// `InvalidAttributeValue` in AWS's usual words.
    pub(crate) fn invalid_attribute(name: &str) -> Self {
        Self::InvalidAttributeValue(format!("Invalid value for the parameter {name}."))
    }

    /// `InvalidAttributeName` in AWS's usual words.
    pub(crate) fn unknown_attribute(name: &str) -> Self {
        Self::InvalidAttributeName(format!("Unknown Attribute {}.", shown(name)))
    }

    /// `ReceiptHandleIsInvalid` for a handle that was never given.
    pub(crate) fn receipt(handle: &str) -> Self {
        Self::ReceiptHandleIsInvalid {
            handle: shown(handle).to_owned(),
        }
    }

    /// Where this fault stands on the wire. Sources: the SQS API's error shapes, "Common errors"
    /// of the SQS API reference, the code map of the move from query to JSON protocol.
    pub(crate) fn wire(&self) -> Wire {
        match self {
            Self::QueueDoesNotExist => wire!(
                "com.amazonaws.sqs#QueueDoesNotExist",
                "AWS.SimpleQueueService.NonExistentQueue",
                BAD_REQUEST
            ),
            Self::QueueNameExists { .. } => wire!(
                "com.amazonaws.sqs#QueueNameExists",
                "QueueAlreadyExists",
                BAD_REQUEST
            ),
            Self::InvalidAttributeName(_) => wire!(
                "com.amazonaws.sqs#InvalidAttributeName",
                "InvalidAttributeName",
                BAD_REQUEST
            ),
            Self::InvalidAttributeValue(_) => wire!(
                "com.amazonaws.sqs#InvalidAttributeValue",
                "InvalidAttributeValue",
                BAD_REQUEST
            ),
            Self::InvalidMessageContents => wire!(
                "com.amazonaws.sqs#InvalidMessageContents",
                "InvalidMessageContents",
                BAD_REQUEST
            ),
            Self::EmptyBatch { .. } => wire!(
                "com.amazonaws.sqs#EmptyBatchRequest",
                "AWS.SimpleQueueService.EmptyBatchRequest",
                BAD_REQUEST
            ),
            Self::TooManyEntries { .. } => wire!(
                "com.amazonaws.sqs#TooManyEntriesInBatchRequest",
                "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
                BAD_REQUEST
            ),
            Self::EntryIdRepeated { .. } => wire!(
                "com.amazonaws.sqs#BatchEntryIdsNotDistinct",
                "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
                BAD_REQUEST
            ),
            Self::InvalidEntryId => wire!(
                "com.amazonaws.sqs#InvalidBatchEntryId",
                "AWS.SimpleQueueService.InvalidBatchEntryId",
                BAD_REQUEST
            ),
            Self::BatchTooLong { .. } => wire!(
                "com.amazonaws.sqs#BatchRequestTooLong",
                "AWS.SimpleQueueService.BatchRequestTooLong",
                BAD_REQUEST
            ),
            Self::ReceiptHandleIsInvalid { .. } => wire!(
                "com.amazonaws.sqs#ReceiptHandleIsInvalid",
                "ReceiptHandleIsInvalid",
                BAD_REQUEST
            ),
            Self::UnsupportedOperation(_) => wire!(
                "com.amazonaws.sqs#UnsupportedOperation",
                "AWS.SimpleQueueService.UnsupportedOperation",
                BAD_REQUEST
            ),
            Self::InvalidAddress { .. } => wire!(
                "com.amazonaws.sqs#InvalidAddress",
                "InvalidAddress",
                BAD_REQUEST
            ),
            Self::OverLimit(_) => wire!("com.amazonaws.sqs#OverLimit", "OverLimit", FORBIDDEN),
            Self::ResourceNotFound(_) => wire!(
                "com.amazonaws.sqs#ResourceNotFoundException",
                "ResourceNotFoundException",
                NOT_FOUND
            ),
            Self::PurgeQueueInProgress { .. } => wire!(
                "com.amazonaws.sqs#PurgeQueueInProgress",
                "AWS.SimpleQueueService.PurgeQueueInProgress",
                FORBIDDEN
            ),
            Self::InvalidParameterValue(_) => wire!(
                "com.amazon.coral.service#InvalidParameterValueException",
                "InvalidParameterValue",
                BAD_REQUEST
            ),
            Self::MissingParameter(_) => wire!(
                "com.amazon.coral.service#MissingRequiredParameterException",
                "MissingParameter",
                BAD_REQUEST
            ),
            Self::Serialization(_) => wire!(
                "com.amazon.coral.service#SerializationException",
                "SerializationException",
                BAD_REQUEST
            ),
            Self::UnknownOperation(_) => wire!(
                "com.amazon.coral.service#UnknownOperationException",
                "InvalidAction",
                BAD_REQUEST
            ),
            Self::UnsupportedMediaType(_) => wire!(
                "com.amazon.coral.service#UnsupportedMediaTypeException",
                "UnsupportedMediaType",
                UNSUPPORTED_MEDIA_TYPE
            ),
            Self::RequestTooLarge => wire!(
                "com.amazon.coral.service#RequestEntityTooLargeException",
                "RequestEntityTooLarge",
                PAYLOAD_TOO_LARGE
            ),
            Self::RequestTimeout => wire!(
                "com.amazon.coral.service#RequestTimeoutException",
                "RequestTimeout",
                REQUEST_TIMEOUT
            ),
            Self::AccessDenied(_) => wire!(
                "com.amazon.coral.service#AccessDeniedException",
                "AccessDenied",
                FORBIDDEN
            ),
            Self::MissingAuthenticationToken => wire!(
                "com.amazon.coral.service#MissingAuthenticationTokenException",
                "MissingAuthenticationToken",
                FORBIDDEN
            ),
            Self::InvalidClientTokenId => wire!(
                "com.amazon.coral.service#UnrecognizedClientException",
                "InvalidClientTokenId",
                FORBIDDEN
            ),
            Self::SignatureDoesNotMatch(_) => wire!(
                "com.amazon.coral.service#InvalidSignatureException",
                "SignatureDoesNotMatch",
                FORBIDDEN
            ),
            Self::IncompleteSignature(_) => wire!(
                "com.amazon.coral.service#IncompleteSignatureException",
                "IncompleteSignature",
                BAD_REQUEST
            ),
            Self::QueueDeletedRecently => wire!(
                "com.amazonaws.sqs#QueueDeletedRecently",
                "AWS.SimpleQueueService.QueueDeletedRecently",
                BAD_REQUEST
            ),
            Self::Unavailable(_) => wire!(
                "com.amazon.coral.service#ServiceUnavailableException",
                "ServiceUnavailable",
                SERVICE_UNAVAILABLE
            ),
            Self::Internal(_) => wire!(
                "com.amazon.coral.service#InternalFailure",
                "InternalFailure",
                INTERNAL_SERVER_ERROR
            ),
        }
    }

    /// The text for people, as AWS words it where AWS has the same failure.
    pub(crate) fn message(&self) -> Cow<'_, str> {
        match self {
            Self::QueueDoesNotExist => "The specified queue does not exist.".into(),
            Self::QueueNameExists { attribute } => format!(
                "A queue already exists with the same name and a different value for attribute {attribute}"
            )
            .into(),
            Self::InvalidMessageContents => "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF".into(),
            Self::EmptyBatch { entry } => format!("There should be at least one {entry} in the request.").into(),
            Self::TooManyEntries { sent } => format!(
                "Maximum number of entries per request are {BATCH_ENTRIES_MAX}. You have sent {sent}."
            )
            .into(),
            Self::EntryIdRepeated { id } => format!("Id {id} repeated.").into(),
            Self::InvalidEntryId => "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 letters long.".into(),
            Self::BatchTooLong { sent } => format!(
                "Batch requests cannot be longer than {MESSAGE_BYTES_MAX} bytes. You have sent {sent} bytes."
            )
            .into(),
            Self::ReceiptHandleIsInvalid { handle } => {
                format!("The input receipt handle \"{handle}\" is not a valid receipt handle.").into()
            }
            Self::InvalidAddress { url } => format!("The address {url} is not valid for this endpoint.").into(),
            Self::PurgeQueueInProgress { queue } => format!("Only one PurgeQueue operation on {queue} is allowed every {PURGE_SECONDS} seconds.").into(),
            Self::RequestTooLarge => format!("The request body must be no longer than {REQUEST_BYTES_MAX} bytes.").into(),
            Self::RequestTimeout => "The request body did not arrive in time.".into(),
            Self::MissingAuthenticationToken => "Request is missing Authentication Token".into(),
            Self::InvalidClientTokenId => {
                "The security token included in the request is invalid.".into()
            }
            Self::QueueDeletedRecently => format!(
                "You must wait {DELETED_SECONDS} seconds after deleting a queue before you can create another with the same name."
            )
            .into(),
            Self::UnsupportedOperation(text)
            | Self::MissingParameter(text)
            | Self::SignatureDoesNotMatch(text) => text.as_ref().into(),
            Self::AccessDenied(text) => (*text).into(),
            Self::InvalidAttributeName(text)
            | Self::InvalidAttributeValue(text)
            | Self::InvalidParameterValue(text)
            | Self::OverLimit(text)
            | Self::ResourceNotFound(text)
            | Self::Serialization(text)
            | Self::UnknownOperation(text)
            | Self::UnsupportedMediaType(text)
            | Self::IncompleteSignature(text)
            | Self::Unavailable(text)
            | Self::Internal(text) => text.as_str().into(),
        }
    }

    /// Whether the request was at fault, not the server.
    pub(crate) fn is_senders(&self) -> bool {
        !self.wire().status.is_server_error()
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoSuchTopic | Refusal::NoSuchPartition => Self::QueueDoesNotExist,
            Refusal::TopicLocked => {
                Self::AccessDenied("The queue belongs to one AMQP connection alone.")
            }
            Refusal::ConsumerExclusive | Refusal::InUse => {
                Self::AccessDenied("The queue has an exclusive AMQP consumer.")
            }
            Refusal::TooLarge { limit, .. } => Self::InvalidParameterValue(format!(
                "One or more parameters are invalid. Reason: Message must be shorter than {limit} bytes."
            )),
            Refusal::MoveRunning => Self::InvalidParameterValue(
                "There is already a task running. Only one active task is allowed for a source queue arn at a given time.".to_owned(),
            ),
            Refusal::NoSuchMove => Self::ResourceNotFound("Task does not exist.".to_owned()),
            Refusal::StorageFull(_) | Refusal::TopicFull | Refusal::Stopping => Self::Unavailable(refusal.to_string()),
            Refusal::TopicExists(_)
            | Refusal::NotEmpty
            | Refusal::NoSuchExchange(_)
            | Refusal::ExchangeExists(_)
            | Refusal::ExchangeInternal(_)
            | Refusal::ExchangeReserved(_)
            | Refusal::NoSuchBinding
            | Refusal::BeyondEnd { .. }
            | Refusal::PartitionCount { .. }
            | Refusal::Producer(_)
            | Refusal::Group(_) | Refusal::Transaction(_) => Self::UnsupportedOperation(refusal.to_string().into()),
        }
    }
}

/// At most so much of a client's value as an error text repeats.
pub(crate) fn shown(value: &str) -> &str {
    let end = value.floor_char_boundary(ECHO_BYTES_MAX);
    value.get(..end).unwrap_or(value)
}

#[cfg(test)]
mod tests;
