//! The limits of the SQS API, each with its unit. Source, if not said otherwise: "Amazon SQS
//! message quotas" and "Amazon SQS queue quotas" of the SQS developer guide.

/// Largest message (body and attributes) and largest batch, bytes.
pub(crate) const MESSAGE_BYTES_MAX: usize = 1_048_576;
/// Smallest value of `MaximumMessageSize`, bytes.
pub(crate) const MESSAGE_BYTES_MIN: usize = 1_024;
/// Entries of one batch call.
pub(crate) const BATCH_ENTRIES_MAX: usize = 10;
/// Characters of a batch entry id.
pub(crate) const BATCH_ID_CHARS_MAX: usize = 80;
/// Characters of a queue name.
pub(crate) const QUEUE_NAME_CHARS_MAX: usize = 80;
/// Attributes of one message.
pub(crate) const MESSAGE_ATTRIBUTES_MAX: usize = 10;
/// Bytes of the name and of the type of a message attribute.
pub(crate) const MESSAGE_ATTRIBUTE_NAME_BYTES_MAX: usize = 256;
/// For how long a second message with the same deduplication id is a duplicate, milliseconds.
pub(crate) const DEDUPLICATION_MS: u64 = 300_000;
/// Messages in flight of a queue whose maker was told nothing else.
pub(crate) const IN_FLIGHT_MAX: u64 = 120_000;
/// Characters of a message group id, of a deduplication id, and of the id of a receive attempt.
pub(crate) const GROUP_ID_CHARS_MAX: usize = 128;
/// Messages of one receive.
pub(crate) const RECEIVE_MESSAGES_MAX: i64 = 10;
/// Longest long poll, seconds.
pub(crate) const WAIT_SECONDS_MAX: u32 = 20;
/// Longest visibility timeout, in all, seconds.
pub(crate) const VISIBILITY_SECONDS_MAX: u32 = 43_200;
/// Longest delay, seconds.
pub(crate) const DELAY_SECONDS_MAX: u32 = 900;
/// Shortest and longest retention, seconds.
pub(crate) const RETENTION_SECONDS: (u32, u32) = (60, 1_209_600);
/// Retention of a queue that names none, seconds.
pub(crate) const RETENTION_SECONDS_DEFAULT: u32 = 345_600;
/// Shortest and longest reuse of a data key, seconds.
pub(crate) const KMS_REUSE_SECONDS: (u32, u32) = (60, 86_400);
/// Smallest and largest `maxReceiveCount`.
pub(crate) const RECEIVE_COUNT: (u32, u32) = (1, 1_000);
/// Bytes of a policy document.
pub(crate) const POLICY_BYTES_MAX: usize = 8_192;
/// Source queues a redrive allow policy may name.
pub(crate) const REDRIVE_SOURCES_MAX: usize = 10;
/// Time from one purge of a queue to the next, seconds.
pub(crate) const PURGE_SECONDS: u64 = 60;
/// For how long the name of a deleted queue cannot be used again, seconds (API reference of
/// `CreateQueue`).
pub(crate) const DELETED_SECONDS: u64 = 60;
/// Actions of one statement of a policy.
pub(crate) const POLICY_ACTIONS_MAX: usize = 7;
/// Accounts one permission may name.
pub(crate) const POLICY_PRINCIPALS_MAX: usize = 50;
/// Conditions of a policy.
pub(crate) const POLICY_CONDITIONS_MAX: usize = 10;
/// Statements of a policy.
pub(crate) const POLICY_STATEMENTS_MAX: usize = 20;
/// Messages a second a move task may be asked to move.
pub(crate) const MOVES_PER_SECOND_MAX: i64 = 500;
/// Move tasks of one answer, which are all that are remembered.
pub(crate) const MOVE_TASKS_MAX: i64 = 10;
/// Tags of one queue.
pub(crate) const TAGS_MAX: usize = 50;
/// Characters of the key of a tag.
pub(crate) const TAG_KEY_CHARS_MAX: usize = 128;
/// Characters of the value of a tag.
pub(crate) const TAG_VALUE_CHARS_MAX: usize = 256;
/// Queues of one answer to `ListQueues`.
pub(crate) const LIST_QUEUES_MAX: usize = 1_000;

/// Largest HTTP body kept, bytes. JSON writers that escape `<` or non-ASCII spend up to six bytes
/// for one of the message; names, handles and the like fit in the rest.
pub(crate) const REQUEST_BYTES_MAX: usize = 6 * MESSAGE_BYTES_MAX + 256 * 1024;
/// Of a larger body so much is still read and dropped, so that the client reads the answer and
/// can go on using the connection, bytes.
pub(crate) const REQUEST_BYTES_DRAINED: usize = 64 << 20;
/// Elements kept of any list or map in a request. No legal request comes near.
pub(crate) const JSON_ELEMENTS_MAX: usize = 128;
/// Parameters of one request of the query protocol. A full batch has some 600.
pub(crate) const QUERY_PARAMETERS_MAX: usize = 4_096;
/// Parts of the name of a parameter of the query protocol. The longest has six.
pub(crate) const QUERY_DEPTH_MAX: usize = 8;
/// Bytes of a value of the client's repeated in an error text.
pub(crate) const ECHO_BYTES_MAX: usize = 1_024;
